//! member, move-leader, compact.

use crate::args::{Common, CompactArgs, MemberVerb, MoveLeaderArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use crate::text;
use oarlock_client::wire::Member;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Runs a verb on members and prints the members after it.
pub async fn member(common: &Common, verb: MemberVerb) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let members = match verb {
        MemberVerb::Ls => client.members().await?,
        MemberVerb::Add { name, peer_urls, learner } => {
            let (added, members) = client.add_member(name, peer_urls, learner).await?;
            eprintln!("added {:x}; start it with --initial-cluster-state existing", added.id);
            members
        }
        MemberVerb::Remove { member } => {
            let id = text::member_id(&client, &member).await?;
            client.remove_member(id).await?
        }
        MemberVerb::Promote { member } => {
            let id = text::member_id(&client, &member).await?;
            client.promote_member(id).await?
        }
        MemberVerb::Update { member, peer_urls } => {
            let id = text::member_id(&client, &member).await?;
            client.update_member(id, peer_urls).await?
        }
    };
    print(common, &members);
    Ok(ExitCode::SUCCESS)
}

fn print(common: &Common, members: &[Member]) {
    if common.is_json() {
        output::line(&Value::Array(members.iter().map(as_json).collect()));
        return;
    }
    let mut table = output::table(&["id", "name", "kind", "peers at", "clients at", "version"]);
    for member in members {
        table.add_row([
            format!("{:x}", member.id),
            member.name.clone(),
            kind(member).to_owned(),
            member.peer_urls.join("\n"),
            member.client_urls.join("\n"),
            member.version.clone(),
        ]);
    }
    say!("{table}");
}

fn kind(member: &Member) -> &'static str {
    if member.learner { "learner" } else { "voter" }
}

fn as_json(member: &Member) -> Value {
    json!({
        "id": format!("{:x}", member.id),
        "name": member.name,
        "kind": kind(member),
        "peer_urls": member.peer_urls,
        "client_urls": member.client_urls,
        "version": member.version,
    })
}

/// Hands leadership over.
pub async fn move_leader(common: &Common, args: MoveLeaderArgs) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let target = match &args.member {
        Some(word) => text::member_id(&client, word).await?,
        None => 0,
    };
    client.move_leader(target).await?;
    if common.is_json() {
        output::line(&json!({ "moved": true }));
    } else {
        say!("leadership was handed over");
    }
    Ok(ExitCode::SUCCESS)
}

/// Forgets history.
pub async fn compact(common: &Common, args: CompactArgs) -> Result<ExitCode, Failure> {
    let revision = common.connect().await?.compact(args.revision.unwrap_or(0)).await?;
    if common.is_json() {
        output::line(&json!({ "revision": revision }));
    } else {
        say!("compacted; the current revision is {revision}");
    }
    Ok(ExitCode::SUCCESS)
}
