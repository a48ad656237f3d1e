//! Whether the route patterns of all groups can stand in one table.
//! Decides by `matchit` itself, which also routes the requests; knows no component.

use crate::project::toml_reader::Placed;

const MOST_PARAMS: usize = 25;

/// All patterns so far.
#[derive(Default)]
pub struct Patterns {
    router: matchit::Router<()>,
    lines: Vec<(Placed<String>, String)>,
}

/// Why a pattern cannot stand.
pub struct Unfit {
    pub message: String,
    pub help: &'static str,
}

impl Patterns {
    pub fn add(&mut self, pattern: &Placed<&str>, group: &str) -> Result<(), Unfit> {
        const HELP: &str = "a pattern is like \"/items/{id}\" or \"/api/{*rest}\"";
        let text = pattern.value;
        if !text.starts_with('/') {
            return Err(Unfit {
                message: format!("pattern {text:?} does not begin with \"/\""),
                help: HELP,
            });
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#') {
            return Err(Unfit {
                message: format!("pattern {text:?} is not a path: no path has a blank, ? or #"),
                help: HELP,
            });
        }
        // `matchit` panics where there are more.
        if text.matches('{').count() > MOST_PARAMS {
            return Err(Unfit {
                message: format!("a pattern has more than {MOST_PARAMS} parameters"),
                help: "take the rest as one: \"/api/{*rest}\"",
            });
        }
        // By itself first: beside others `matchit` takes what is malformed for a conflict.
        let alone = matchit::Router::new().insert(text, ());
        match alone.and_then(|()| self.router.insert(text, ())) {
            Ok(()) => {
                let place = Placed {
                    value: text.to_owned(),
                    position: pattern.position,
                };
                self.lines.push((place, group.to_owned()));
                Ok(())
            }
            Err(matchit::InsertError::Conflict { with }) => Err(Unfit {
                message: format!(
                    "pattern {text:?} of group {group} conflicts with {}",
                    self.rival(text, &with)
                ),
                help: "one request cannot have two answers: change or remove one of them",
            }),
            Err(error) => Err(Unfit {
                message: format!("pattern {text:?} is not understood: {error}"),
                help: HELP,
            }),
        }
    }

    /// The line that keeps `pattern` out. `matchit` names its own spelling of it, which nobody may have
    /// written.
    fn rival(&self, pattern: &str, spelling: &str) -> String {
        let keeps_out = |(line, _): &&(Placed<String>, String)| {
            let mut alone = matchit::Router::new();
            alone.insert(line.as_str(), ()).is_ok() && alone.insert(pattern, ()).is_err()
        };
        match self.lines.iter().find(keeps_out) {
            Some((Placed { value, position }, group)) => {
                format!("{value:?} of group {group} (line {})", position.line)
            }
            None => format!("{spelling:?}"),
        }
    }
}
