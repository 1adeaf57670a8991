//! What transactions tell about their order, and what they tell that cannot be.

use super::graph::{Edge, Graph, Kind};
use super::{Findings, Step, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// The order of one list's elements, and who knows of it.
#[derive(Default)]
struct List<'t> {
    /// Who appended what.
    appenders: BTreeMap<i64, usize>,
    /// Reads by others than the reader's own transaction has changed: reader and content.
    reads: Vec<(usize, &'t [i64])>,
    /// The longest content that was read.
    order: &'t [i64],
    /// Who appended what nobody read.
    unread: Vec<usize>,
}

/// The orders that follow from what happened. `failed` are transactions that did not.
pub(super) fn inferred(
    transactions: &[Transaction],
    failed: &[Transaction],
    findings: &mut Findings,
) -> Graph {
    let mut lists: BTreeMap<&str, List<'_>> = BTreeMap::new();
    for (number, transaction) in transactions.iter().enumerate() {
        collect(number, transaction, &mut lists, findings);
    }
    let mut aborted: BTreeMap<(&str, i64), usize> = BTreeMap::new();
    for transaction in failed {
        for step in &transaction.steps {
            if let Step::Append(key, element) = step {
                aborted.insert((key, *element), transaction.operation);
            }
        }
    }
    let mut graph = Graph { transactions: transactions.len(), nodes: transactions.len(), edges: Vec::new() };
    for (key, list) in &mut lists {
        list.settle();
        let readable = list.judge_reads(key, transactions, &aborted, findings);
        list.connect(&readable, &mut graph);
        list.lost_updates(key, transactions, findings);
    }
    internal(transactions, findings);
    by_process(transactions, &mut graph);
    by_real_time(transactions, &mut graph);
    graph
}

/// Notes the steps of one transaction in their lists. Reads after own appends hold those, and are
/// taken without them.
fn collect<'t>(
    number: usize,
    transaction: &'t Transaction,
    lists: &mut BTreeMap<&'t str, List<'t>>,
    findings: &mut Findings,
) {
    let mut own: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &transaction.steps {
        match step {
            Step::Append(key, element) => {
                *own.entry(key).or_default() += 1;
                let list = lists.entry(key).or_default();
                if list.appenders.insert(*element, number).is_some() {
                    let what = format!("{element} was appended to {key} by two transactions");
                    findings.add("not unique", what, [transaction.operation]);
                }
            }
            Step::Read(key, Some(content)) => {
                let foreign = content.len().saturating_sub(own.get(key.as_str()).copied().unwrap_or(0));
                lists.entry(key).or_default().reads.push((number, &content[..foreign]));
                // With its own appends a read shows where they stand.
                if foreign < content.len() {
                    lists.entry(key).or_default().reads.push((number, content));
                }
            }
            Step::Read(_, None) => {}
        }
    }
}

impl List<'_> {
    /// Says what no order can explain; returns the reads that fit the longest one.
    fn judge_reads(
        &self,
        key: &str,
        transactions: &[Transaction],
        aborted: &BTreeMap<(&str, i64), usize>,
        findings: &mut Findings,
    ) -> Vec<(usize, usize)> {
        let mut readable = Vec::new();
        let longest = self.reads.iter().find(|(_, content)| content.len() == self.order.len());
        let duplicated = first_duplicate(self.order);
        for (reader, content) in &self.reads {
            let operation = transactions[*reader].operation;
            if !self.order.starts_with(content) {
                let other = longest.map(|(other, _)| transactions[*other].operation);
                let what = format!("{key} was read as {} and as {}", tail(content), tail(self.order));
                findings.add("incompatible order", what, [operation].into_iter().chain(other));
                if let Some(element) = first_duplicate(content) {
                    findings.add("duplicate elements", format!("{element} is twice in {key}"), [operation]);
                }
                continue;
            }
            readable.push((*reader, content.len()));
            self.intermediate(key, *reader, content.len(), transactions, findings);
        }
        if let (Some(element), Some((reader, _))) = (duplicated, longest) {
            let what = format!("{element} is twice in {key}");
            findings.add("duplicate elements", what, [transactions[*reader].operation]);
        }
        let unknown =
            self.order.iter().enumerate().filter(|(_, element)| !self.appenders.contains_key(element));
        for (at, element) in unknown {
            let readers = || readable.iter().filter(|(_, length)| *length > at).map(|(reader, _)| *reader);
            let reader = readers().map(|reader| transactions[reader].operation).next();
            match aborted.get(&(key, *element)) {
                Some(failed) => {
                    let what = format!("{element} in {key} is of a transaction that did not happen");
                    findings.add("G1a", what, reader.into_iter().chain([*failed]));
                    if let Some(next) = self.order[at + 1..].iter().find_map(|next| self.appenders.get(next))
                    {
                        let what = format!("an append to {key} stands on one that did not happen");
                        findings.add("dirty update", what, [*failed, transactions[*next].operation]);
                    }
                }
                None => {
                    findings.add("from nowhere", format!("nobody appended {element} to {key}"), reader);
                }
            }
        }
        readable
    }

    /// G1b: a read of some appends of a transaction, but not of its last one.
    fn intermediate(
        &self,
        key: &str,
        reader: usize,
        length: usize,
        transactions: &[Transaction],
        findings: &mut Findings,
    ) {
        let Some(last) = length.checked_sub(1).and_then(|at| self.appenders.get(&self.order[at])) else {
            return;
        };
        let is_cut = match self.order.get(length) {
            Some(next) => self.appenders.get(next) == Some(last),
            None => self.unread.contains(last),
        };
        if is_cut && *last != reader {
            let what = format!("{key} was read between two appends of one transaction");
            findings.add("G1b", what, [transactions[*last].operation, transactions[reader].operation]);
        }
    }

    /// Adds who wrote after whom, who read whom, and who missed whom.
    fn connect(&self, readable: &[(usize, usize)], graph: &mut Graph) {
        let appender =
            |at: usize| self.order.get(at).and_then(|element| self.appenders.get(element)).copied();
        let mut add = |from: Option<usize>, to: Option<usize>, kind| {
            if let Some((from, to)) = from.zip(to).filter(|(from, to)| from != to) {
                graph.edges.push(Edge { from, to, kind });
            }
        };
        (1..self.order.len()).for_each(|at| add(appender(at - 1), appender(at), Kind::WriteWrite));
        for (reader, length) in readable {
            add(length.checked_sub(1).and_then(appender), Some(*reader), Kind::WriteRead);
            add(Some(*reader), appender(*length), Kind::ReadWrite);
            // Acknowledged appends that no read saw stand after all that were seen, in no known order.
            if *length == self.order.len() {
                self.unread.iter().for_each(|writer| add(Some(*reader), Some(*writer), Kind::ReadWrite));
            }
        }
        let last = self.order.len().checked_sub(1).and_then(appender);
        self.unread.iter().for_each(|writer| add(last, Some(*writer), Kind::WriteWrite));
    }

    /// Settles the order by the longest read.
    fn settle(&mut self) {
        self.order =
            self.reads.iter().map(|(_, content)| *content).max_by_key(|read| read.len()).unwrap_or(&[]);
        let seen: BTreeSet<&i64> = self.order.iter().collect();
        let unread = self.appenders.iter().filter(|(element, _)| !seen.contains(element));
        self.unread = unread.map(|(_, by)| *by).collect();
    }

    /// Two transactions that both read a list at the same length and then appended to it.
    fn lost_updates(&self, key: &str, transactions: &[Transaction], findings: &mut Findings) {
        let mut updates: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (reader, content) in &self.reads {
            let steps = &transactions[*reader].steps;
            let of_key = |step: &&Step| match step {
                Step::Append(of, _) | Step::Read(of, _) => of == key,
            };
            let is_update = matches!(steps.iter().find(of_key), Some(Step::Read(_, Some(first))) if first == content)
                && steps.iter().any(|step| matches!(step, Step::Append(of, _) if of == key));
            let readers = updates.entry(content.len()).or_default();
            if is_update && transactions[*reader].returned.is_some() && !readers.contains(reader) {
                readers.push(*reader);
            }
        }
        for (length, readers) in updates.into_iter().filter(|(_, readers)| readers.len() > 1) {
            let what = format!("several transactions read {key} with {length} elements, and appended to it");
            findings.add("lost update", what, readers.iter().map(|reader| transactions[*reader].operation));
        }
    }
}

/// Reads that do not hold what their own transaction read or appended before.
fn internal(transactions: &[Transaction], findings: &mut Findings) {
    for transaction in transactions {
        let mut known: BTreeMap<&str, (Option<Vec<i64>>, Vec<i64>)> = BTreeMap::new(); // whole, or its end
        for step in &transaction.steps {
            match step {
                Step::Append(key, element) => {
                    let (whole, end) = known.entry(key).or_default();
                    whole.iter_mut().for_each(|whole| whole.push(*element));
                    end.push(*element);
                }
                Step::Read(key, Some(content)) => {
                    let (whole, end) = known.entry(key).or_default();
                    let fits = whole.as_ref().map_or(content.ends_with(end), |whole| whole == content);
                    if !fits {
                        let what = format!("{key} was read as {}, which contradicts itself", tail(content));
                        findings.add("internal", what, [transaction.operation]);
                    }
                    *whole = Some(content.clone());
                }
                Step::Read(_, None) => {}
            }
        }
    }
}

/// Each process does one thing after the other.
fn by_process(transactions: &[Transaction], graph: &mut Graph) {
    let mut order: Vec<usize> = (0..transactions.len()).collect();
    order.sort_by_key(|number| (transactions[*number].process, transactions[*number].invoked));
    for pair in order.windows(2) {
        let [from, to] = [pair[0], pair[1]];
        if transactions[from].process == transactions[to].process && transactions[from].returned.is_some() {
            graph.edges.push(Edge { from, to, kind: Kind::Process });
        }
    }
}

/// What was over comes before what began later. Instead of an edge for each such pair there is a chain
/// of moments, one for each return: a return leads to its moment, and each beginning follows the last
/// moment before it. That is linear in the transactions.
fn by_real_time(transactions: &[Transaction], graph: &mut Graph) {
    let mut events: Vec<(u64, bool, usize)> = Vec::new(); // at the same time, beginnings come first
    for (number, transaction) in transactions.iter().enumerate() {
        events.push((transaction.invoked, false, number));
        events.extend(transaction.returned.map(|returned| (returned, true, number)));
    }
    events.sort_unstable();
    let mut moment: Option<usize> = None;
    let kind = Kind::RealTime;
    for (_, is_return, number) in events {
        if is_return {
            let next = graph.nodes;
            graph.nodes += 1;
            graph.edges.extend(moment.map(|from| Edge { from, to: next, kind }));
            graph.edges.push(Edge { from: number, to: next, kind });
            moment = Some(next);
        } else {
            graph.edges.extend(moment.map(|from| Edge { from, to: number, kind }));
        }
    }
}

fn first_duplicate(content: &[i64]) -> Option<i64> {
    let mut seen = BTreeSet::new();
    content.iter().find(|element| !seen.insert(**element)).copied()
}

/// The end of a list that may be long.
fn tail(content: &[i64]) -> String {
    const SHOWN: usize = 8;
    match content.len().checked_sub(SHOWN) {
        Some(hidden) if hidden > 0 => format!("{hidden} elements and {:?}", &content[hidden..]),
        _ => format!("{content:?}"),
    }
}
