//! Content as 32 bytes: equal digests are equal content.
//! Knows no files: neither paths nor times are content.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::diagnostic::Diagnostic;

use super::{Directory, Grants, GroupSpec, Instances, KeyValue, Limits, Probation, Requests, State, Text};

/// A blake3 hash; shown in lower case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(content: &[u8]) -> Self {
        Self(blake3::hash(content).into())
    }

    /// Of parts one after another, each with its length: where one ends and the next begins counts.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Fields::default();
        for part in parts {
            hash.bytes(part);
        }
        hash.finish()
    }

    /// Its first bits.
    pub fn numbers(&self) -> (u64, u64) {
        let number = |at: usize| {
            self.0[at..at + 8]
                .iter()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        (number(0), number(8))
    }

    /// Of all that a generation of the group depends on.
    pub(super) fn of_group(group: &GroupSpec) -> Self {
        // Taken apart in full: a field that is added has to be decided on here.
        let GroupSpec {
            name,
            components,
            files,
            routes,
            wire,
            instances,
            state,
            checkpoint,
            limits,
            grants,
            drain,
            requests,
            probation,
            digest: _,
            wire_places: _,
        } = group;
        let mut routes: Vec<_> = routes.iter().collect();
        routes.sort();

        let mut hash = Fields::default();
        hash.text(name);
        hash.count(components.len());
        for (id, component) in components {
            hash.text(id.as_str()).bytes(&component.digest.0);
        }
        hash.count(files.len());
        for (name, file) in files {
            hash.text(name).bytes(&file.digest.0);
        }
        hash.count(routes.len());
        for route in routes {
            hash.text(&route.pattern).text(route.component.as_str());
        }
        hash.count(wire.len());
        for (importer, lines) in wire {
            hash.text(importer.as_str()).count(lines.len());
            for (interface, exporter) in lines {
                hash.text(interface).text(exporter.as_str());
            }
        }
        match instances {
            Instances::Shared => hash.number(0),
            Instances::Pool(most) => hash.number(1).count(*most),
            Instances::Isolated => hash.number(2),
        };
        match state {
            State::Fresh => hash.number(0),
            State::Migrate => hash.number(1),
        };
        hash.number(checkpoint.map_or(0, |every| every.as_nanos()));
        hash.limits(limits);
        hash.number(drain.as_nanos());
        hash.number(u128::from(*requests == Requests::Wait));
        match probation {
            None => hash.number(0),
            Some(Probation { requests, traps }) => {
                hash.number(1).number((*requests).into()).number((*traps).into())
            }
        };
        hash.grants(grants);
        hash.finish()
    }

    /// Of what was understood of a group, and of what was wrong with it.
    pub(super) fn of_refusal(group: &GroupSpec, diagnostics: &[Diagnostic]) -> Self {
        let mut hash = Fields::default();
        hash.bytes(&Self::of_group(group).0);
        hash.count(diagnostics.len());
        for diagnostic in diagnostics {
            hash.text(&diagnostic.to_string());
        }
        hash.finish()
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(text).map_err(D::Error::custom)?;
        Ok(Self(hash.into()))
    }
}

/// A hash over a row of fields; lengths go in too, so that no two rows look the same.
#[derive(Default)]
struct Fields(blake3::Hasher);

impl Fields {
    fn number(&mut self, number: u128) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.number(count as u128)
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn limits(&mut self, limits: &Limits) -> &mut Self {
        let Limits {
            memory,
            request_time,
            start_time,
            in_flight,
            queue,
            body,
            static_files,
            handles,
            files,
            connections,
            instances,
            call_size,
            output,
            snapshot,
            keyvalue,
        } = limits;
        self.number((*memory).into()).number((*body).into());
        self.number((*static_files).into());
        self.number(request_time.as_nanos()).number(start_time.as_nanos());
        self.count(*in_flight).count(*queue);
        self.count(*handles).count(*files).count(*connections);
        self.count(*instances);
        self.number((*call_size).into()).number((*output).into());
        self.number((*snapshot).into()).number((*keyvalue).into())
    }

    fn grants(&mut self, grants: &Grants) -> &mut Self {
        let Grants {
            http,
            env,
            config,
            directories,
            keyvalue,
        } = grants;
        self.count(http.len());
        for origin in http {
            self.text(&origin.to_string());
        }
        for texts in [env, config] {
            self.count(texts.len());
            for (key, value) in texts {
                self.text(key).granted(value);
            }
        }
        self.count(directories.len());
        for Directory { host, guest, write } in directories {
            self.bytes(host.as_os_str().as_encoded_bytes()).text(guest);
            self.number((*write).into());
        }
        match keyvalue {
            None => self.number(0),
            Some(KeyValue::Durable) => self.number(1),
            Some(KeyValue::Url(url)) => self.number(2).granted(url),
        }
    }

    fn granted(&mut self, text: &Text) -> &mut Self {
        match text {
            Text::Written(text) => self.number(0).text(text),
            // Its digest, so that no more of it is in memory for longer.
            Text::Secret(_) => self.number(1).bytes(&Digest::of(text.reveal().as_bytes()).0),
        }
    }

    fn finish(&self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use bytes::Bytes;

    use super::*;
    use crate::project::{Component, ComponentId, Content, Origin, Route, StaticFile};

    fn id(text: &str) -> ComponentId {
        ComponentId::parse(text).expect("an id")
    }

    fn component(name: &str, content: &'static [u8]) -> (ComponentId, Component) {
        let component = Component {
            id: id(name),
            path: "x".into(),
            digest: Digest::of(content),
            content: Content::Held(Bytes::from_static(content)),
        };
        (id(name), component)
    }

    fn file(name: &str, content: &'static [u8]) -> (String, StaticFile) {
        let file = StaticFile {
            path: "x".into(),
            digest: Digest::of(content),
            bytes: Bytes::from_static(content),
        };
        (name.into(), file)
    }

    fn route(pattern: &str, component: &str) -> Route {
        Route {
            pattern: pattern.into(),
            component: id(component),
        }
    }

    fn group() -> GroupSpec {
        GroupSpec {
            name: "shop".into(),
            components: BTreeMap::from([component("shop.a", b"1"), component("shop.b", b"2")]),
            files: BTreeMap::from([file("site.css", b"1")]),
            routes: vec![route("/", "shop.a"), route("/b", "shop.b")],
            wire: BTreeMap::new(),
            instances: Instances::Shared,
            state: State::Fresh,
            checkpoint: None,
            limits: Limits::default(),
            grants: Grants::default(),
            drain: Duration::from_secs(30),
            requests: Requests::ServeOld,
            probation: None,
            digest: Digest::of(b""),
            wire_places: BTreeMap::new(),
        }
    }

    #[test]
    fn shown_in_lower_case_hex() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn every_part_of_a_group_counts() {
        let changes: [fn(&mut GroupSpec); 40] = [
            |group| group.name = "shop2".into(),
            |group| group.components.extend([component("shop.a", b"11")]),
            |group| group.components.extend([component("shop.c", b"")]),
            |group| drop(group.components.remove(&id("shop.b"))),
            |group| group.files.extend([file("site.css", b"2")]),
            |group| group.files.extend([file("site.js", b"")]),
            |group| group.files.clear(),
            |group| drop(group.grants.env.insert("LANG".into(), "en".into())),
            |group| drop(group.grants.config.insert("LANG".into(), "en".into())),
            |group| group.grants.http.extend(Origin::parse("http://127.0.0.1:9000")),
            |group| {
                group.grants.directories.push(Directory {
                    host: "/data".into(),
                    guest: "/data".into(),
                    write: false,
                });
            },
            |group| group.grants.keyvalue = Some(KeyValue::Durable),
            |group| group.grants.keyvalue = Some(KeyValue::Url("redis://127.0.0.1".into())),
            |group| group.limits.keyvalue += 1,
            |group| group.routes[0].pattern = "/a".into(),
            |group| group.routes[0].component = id("shop.b"),
            |group| {
                drop(
                    group
                        .wire
                        .insert(id("shop.a"), BTreeMap::from([("x:y/z".into(), id("shop.b"))])),
                )
            },
            |group| group.instances = Instances::Isolated,
            |group| group.instances = Instances::Pool(1),
            |group| group.instances = Instances::Pool(2),
            |group| group.state = State::Migrate,
            |group| group.checkpoint = Some(Duration::from_secs(30)),
            |group| group.limits.snapshot += 1,
            |group| group.limits.memory += 1,
            |group| group.limits.body += 1,
            |group| group.limits.static_files += 1,
            |group| group.limits.request_time += Duration::from_nanos(1),
            |group| group.limits.start_time += Duration::from_nanos(1),
            |group| group.limits.in_flight += 1,
            |group| group.limits.queue += 1,
            |group| group.limits.handles += 1,
            |group| group.limits.files += 1,
            |group| group.limits.connections += 1,
            |group| group.limits.instances += 1,
            |group| group.limits.call_size += 1,
            |group| group.limits.output += 1,
            |group| group.drain = Duration::ZERO,
            |group| group.requests = Requests::Wait,
            |group| group.probation = Some(Probation::default()),
            |group| {
                group.probation = Some(Probation {
                    traps: 2,
                    ..Probation::default()
                });
            },
        ];
        let mut seen = vec![Digest::of_group(&group())];
        for change in changes {
            let mut changed = group();
            change(&mut changed);
            let digest = Digest::of_group(&changed);
            assert!(!seen.contains(&digest), "{changed:?}");
            seen.push(digest);
        }
    }

    #[test]
    fn paths_and_the_order_of_routes_do_not_count() {
        let mut moved = group();
        moved.routes.reverse();
        for component in moved.components.values_mut() {
            component.path = "elsewhere".into();
        }
        for file in moved.files.values_mut() {
            file.path = "elsewhere".into();
        }
        assert_eq!(Digest::of_group(&moved), Digest::of_group(&group()));
    }
}
