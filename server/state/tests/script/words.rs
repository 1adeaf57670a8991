//! A line divided into words.

use bytes::Bytes;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

/// What a misunderstood line says.
pub type Fault = Box<dyn Error>;

/// The words of a line, taken from the front. `{`, `}` and `;` are words of their own; quotes keep
/// blanks together and know `\0` and `\xNN`.
#[derive(Debug)]
pub struct Words {
    words: Vec<Bytes>,
    at: usize,
}

impl Words {
    /// Divides a line.
    pub fn of(line: &str) -> Result<Self, Fault> {
        let mut words = Vec::new();
        let mut characters = line.chars().peekable();
        while let Some(first) = characters.next() {
            match first {
                ' ' => {}
                '{' | '}' | ';' => words.push(Bytes::from(first.to_string())),
                _ => {
                    let mut word = Vec::new();
                    let mut next = Some(first);
                    while let Some(one) = next {
                        match one {
                            '\'' => quoted(&mut characters, &mut word)?,
                            other => word.extend_from_slice(other.to_string().as_bytes()),
                        }
                        next = characters.next_if(|one| !" {};".contains(*one));
                    }
                    words.push(Bytes::from(word));
                }
            }
        }
        Ok(Self { words, at: 0 })
    }

    /// The next word, if there is one.
    pub fn next(&mut self) -> Option<Bytes> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// The next word, which must be there.
    pub fn take(&mut self) -> Result<Bytes, Fault> {
        self.next().ok_or_else(|| "the line ends too early".into())
    }

    /// The next word as text.
    pub fn text(&mut self) -> Result<String, Fault> {
        Ok(String::from_utf8(self.take()?.to_vec())?)
    }

    /// The next word as a number or other value.
    pub fn value<T: FromStr<Err: Display>>(&mut self) -> Result<T, Fault> {
        parse(&self.text()?)
    }

    /// Takes the next word if it is this one.
    pub fn is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at).is_some_and(|next| next == word.as_bytes());
        self.at += usize::from(is);
        is
    }

    /// Demands that the next word is this one.
    pub fn demand(&mut self, word: &str) -> Result<(), Fault> {
        if self.is(word) { Ok(()) } else { Err(format!("{word:?} is missing").into()) }
    }

    /// Takes `name=value` out of the words of the present statement, wherever it stands.
    pub fn option(&mut self, name: &str) -> Option<Bytes> {
        self.option_before(self.statement_end(), name)
    }

    /// Takes `name=value` out of the whole line.
    pub fn line_option(&mut self, name: &str) -> Option<Bytes> {
        self.option_before(self.words.len(), name)
    }

    fn option_before(&mut self, end: usize, name: &str) -> Option<Bytes> {
        let prefix = format!("{name}=");
        let place = (self.at..end).find(|at| self.words[*at].starts_with(prefix.as_bytes()))?;
        Some(self.words.remove(place).slice(prefix.len()..))
    }

    /// Takes `name=value` as a number or other value.
    pub fn option_value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Fault> {
        match self.option(name) {
            None => Ok(None),
            Some(value) => Ok(Some(parse(std::str::from_utf8(&value)?)?)),
        }
    }

    /// Takes a lone word out of the present statement.
    pub fn flag(&mut self, name: &str) -> bool {
        let end = self.statement_end();
        let place = (self.at..end).find(|at| self.words[*at] == name.as_bytes());
        place.map(|place| self.words.remove(place)).is_some()
    }

    fn statement_end(&self) -> usize {
        let ends = |word: &Bytes| matches!(word.as_ref(), b"{" | b"}" | b";");
        let rest = self.words.get(self.at..).unwrap_or_default();
        rest.iter().position(ends).map_or(self.words.len(), |length| self.at + length)
    }

    /// Demands that nothing is left.
    pub fn end(&self) -> Result<(), Fault> {
        match self.words.get(self.at) {
            None => Ok(()),
            Some(word) => Err(format!("{word:?} was not expected").into()),
        }
    }
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error| format!("{text:?}: {error}").into())
}

fn quoted(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut Vec<u8>,
) -> Result<(), Fault> {
    loop {
        match characters.next().ok_or("a quote has no end")? {
            '\'' => return Ok(()),
            '\\' => match characters.next() {
                Some('0') => word.push(0),
                Some('x') => {
                    let digits: String = characters.by_ref().take(2).collect();
                    word.push(u8::from_str_radix(&digits, 16)?);
                }
                other => return Err(format!("unknown escape {other:?}").into()),
            },
            other => word.extend_from_slice(other.to_string().as_bytes()),
        }
    }
}
