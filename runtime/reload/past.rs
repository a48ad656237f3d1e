//! Which content each generation had, and which one a roll-back is to have. Pure.

use std::collections::BTreeMap;

use crate::{diagnostic::Diagnostic, project::Digest};

/// Generations of a group that are remembered.
const GENERATIONS: usize = 64;
/// Digits of a digest that are enough to name it.
const PREFIX: usize = 6;

/// The contents that one group had in this process, by generation.
#[derive(Default)]
pub struct Past(BTreeMap<u64, Digest>);

impl Past {
    pub fn add(&mut self, generation: u64, content: Digest) {
        self.0.insert(generation, content);
        while self.0.len() > GENERATIONS {
            self.0.pop_first();
        }
    }

    fn named<'a>(
        &'a self,
        group: &str,
        name: &'a str,
        kept: &'a [Digest],
    ) -> impl Iterator<Item = Digest> + 'a {
        let number = name.strip_prefix(group).and_then(|rest| rest.strip_prefix('@'));
        let number: Option<u64> = number.unwrap_or(name).parse().ok();
        let content = number.and_then(|number| self.0.get(&number)).copied();
        let is_prefix = move |digest: &&Digest| name.len() >= PREFIX && digest.to_string().starts_with(name);
        content.into_iter().chain(kept.iter().filter(is_prefix).copied())
    }

    /// How a content can be named.
    fn name(&self, content: Digest) -> String {
        let generation = self.0.iter().rev().find(|(_, digest)| **digest == content);
        let digest = &content.to_string()[..2 * PREFIX];
        match generation {
            Some((number, _)) => format!("@{number} ({digest})"),
            None => digest.to_owned(),
        }
    }
}

/// What a group goes back to.
pub struct Choice<'a> {
    pub group: &'a str,
    /// As it was asked for: a generation's number, or the beginning of a content's digest.
    pub wanted: Option<&'a str>,
    pub past: &'a Past,
    /// Newest first.
    pub kept: &'a [Digest],
    pub serves: Option<Digest>,
    /// What was taken back already.
    pub withdrawn: Option<Digest>,
}

impl Choice<'_> {
    /// Without a wish: the newest that neither serves nor was taken back. Errors: there is none, or not the one
    /// that is wanted.
    pub fn make(&self) -> Result<Digest, Diagnostic> {
        let Self {
            group,
            wanted,
            past,
            kept,
            ..
        } = self;
        let is_other = |digest: &Digest| self.serves != Some(*digest) && self.withdrawn != Some(*digest);
        match wanted {
            None => kept.iter().copied().find(is_other).ok_or_else(|| {
                let message = format!("no other content of {group} is kept that served before");
                Diagnostic::new("rollback-nothing", message).help(self.help())
            }),
            Some(name) => {
                let content = past.named(group, name, kept).find(|digest| kept.contains(digest));
                let content = content.ok_or_else(|| {
                    let message = format!("no content of {group} is kept under the name {name:?}");
                    Diagnostic::new("rollback-unknown", message).help(self.help())
                })?;
                if self.serves == Some(content) {
                    let message = format!("{group} serves that content already");
                    return Err(Diagnostic::new("rollback-nothing", message).help(self.help()));
                }
                Ok(content)
            }
        }
    }

    fn help(&self) -> String {
        let name = |digest: &Digest| {
            let serves = if self.serves == Some(*digest) {
                ", which serves"
            } else {
                ""
            };
            self.past.name(*digest) + serves
        };
        match self.kept {
            [] => "nothing of that name was ever served from this state directory".into(),
            kept => format!(
                "kept are {}",
                kept.iter().map(name).collect::<Vec<_>>().join("; ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// Generations 1, 2 and 3 had the contents a, b and a; x was served by an earlier process.
    fn choose(wanted: Option<&str>, serves: &str, withdrawn: Option<&str>) -> Result<Digest, Diagnostic> {
        let mut past = Past::default();
        for (number, content) in [(1, "a"), (2, "b"), (3, "a"), (4, "gone")] {
            past.add(number, digest(content));
        }
        let choice = Choice {
            group: "shop",
            wanted,
            past: &past,
            kept: &[digest("a"), digest("b"), digest("x")],
            serves: Some(digest(serves)),
            withdrawn: withdrawn.map(digest),
        };
        choice.make()
    }

    #[test]
    fn without_a_wish_it_is_the_newest_that_is_left() {
        assert_eq!(choose(None, "a", None), Ok(digest("b")));
        assert_eq!(choose(None, "a", Some("b")), Ok(digest("x")));
    }

    #[test]
    fn a_generation_is_named_by_its_number_and_a_content_by_its_digest() {
        assert_eq!(choose(Some("2"), "a", None), Ok(digest("b")));
        assert_eq!(choose(Some("shop@2"), "a", Some("b")), Ok(digest("b")));
        let x = digest("x").to_string();
        assert_eq!(choose(Some(&x[..6]), "a", None), Ok(digest("x")));
        for (wanted, code) in [
            ("4", "rollback-unknown"),
            (&x[..5], "rollback-unknown"),
            ("3", "rollback-nothing"),
        ] {
            let refused = choose(Some(wanted), "a", None).unwrap_err();
            assert_eq!(refused.code, code, "{wanted}");
        }
        let help = choose(Some("7"), "a", None).unwrap_err().help.unwrap();
        let (a, b) = (digest("a").to_string(), digest("b").to_string());
        let expected = format!(
            "kept are @3 ({}), which serves; @2 ({}); {}",
            &a[..12],
            &b[..12],
            &x[..12]
        );
        assert_eq!(help, expected);
    }
}
