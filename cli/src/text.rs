//! Words to values.

use crate::failure::Failure;
use oarlock_client::{Client, Token};
use std::io::Read;

/// `KEY=REVISION` to a token. The revision is behind the last `=`, so keys may hold some.
pub fn token(word: &str) -> Result<Token, Failure> {
    let bad = || Failure::Usage(format!("guard {word:?} is not of the form KEY=REVISION"));
    let (key, revision) = word.rsplit_once('=').ok_or_else(bad)?;
    let revision = revision.parse().map_err(|_| bad())?;
    Ok(Token::of_key(key.to_owned(), revision))
}

/// A value; `-` stands for standard input.
pub fn value(word: String) -> Result<Vec<u8>, Failure> {
    if word != "-" {
        return Ok(word.into_bytes());
    }
    let mut value = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut value);
    read.map_err(|error| Failure::Local(format!("cannot read standard input: {error}")))?;
    Ok(value)
}

/// A member's id from its id in hexadecimal, or its name.
pub async fn member_id(client: &Client, word: &str) -> Result<u64, Failure> {
    let members = client.members().await?;
    let id = u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let by_id = members.iter().find(|member| Some(member.id) == id);
    let by_name = || members.iter().find(|member| member.name == word);
    by_id.or_else(by_name).map(|member| member.id).ok_or_else(|| {
        let known: Vec<String> = members.iter().map(|m| format!("{} ({:x})", m.name, m.id)).collect();
        Failure::NotFound(format!("there is no member {word:?}; there are {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_names_its_key_and_revision() {
        let parsed = token("/a=b=17").expect("well-formed");
        assert_eq!(parsed, Token::of_key("/a=b", 17));
        assert!(matches!(token("/a"), Err(Failure::Usage(_))));
        assert!(matches!(token("/a=x"), Err(Failure::Usage(_))));
    }
}
