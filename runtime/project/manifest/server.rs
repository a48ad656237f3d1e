//! The section `[server]`: where to listen, by which certificate, and what a client may take.
//! Knows no group.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::grants::secret;
use crate::project::{
    Address, AdminSpec, FleetSpec, ReadySpec, ServerLimits, ServerSpec, TlsFiles,
    toml_reader::{Section, Value},
};

pub fn server(section: &mut Section<'_>) -> ServerSpec {
    let written = section.get("listen");
    let tls_section = section.get("tls");
    let tls = tls_section.as_ref().and_then(|value| value.section(tls)?);
    let admin = section.get("admin").and_then(|value| value.section(admin)?);
    let fleet = section.get("fleet").and_then(|value| value.section(fleet));
    let ready = section.get("ready").and_then(|value| value.section(ready)?);
    let limits = section.get("limits").and_then(|value| value.section(limits));
    // What is wrong in the section is said already.
    let has_tls = tls_section.is_some();
    let listen = written.and_then(|value| listen(&value, has_tls));
    let default = ServerSpec::default();
    ServerSpec {
        listen: listen.unwrap_or(default.listen),
        tls,
        limits: limits.unwrap_or(default.limits),
        admin,
        fleet: fleet.unwrap_or(default.fleet),
        ready,
    }
}

fn ready(section: &mut Section<'_>) -> Option<ReadySpec> {
    let path = section.get("path").map(|value| ready_path(&value));
    let notice = section
        .get("notice")
        .and_then(|value| value.duration(Duration::ZERO..=Duration::from_secs(3600)));
    match path {
        Some(path) => Some(ReadySpec {
            path: path?,
            notice: notice.unwrap_or(ReadySpec::NOTICE),
        }),
        None => section.lacks("path", "what balancers ask for, such as \"/ready\""),
    }
}

fn ready_path(value: &Value<'_>) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    match value.string()? {
        path if path.starts_with('/') && path.bytes().all(is_plain) => Some(path.to_owned()),
        _ => value.expected("a path such as \"/ready\""),
    }
}

fn fleet(section: &mut Section<'_>) -> FleetSpec {
    let default = FleetSpec::default();
    let time =
        |value: Option<Value<'_>>| value?.duration(Duration::from_millis(300)..=Duration::from_secs(3600));
    FleetSpec {
        lease: time(section.get("lease")).unwrap_or(default.lease),
        quorum: section.get("quorum").and_then(|value| value.number(1..=100_000)),
        patience: time(section.get("patience")).unwrap_or(default.patience),
        pin: section
            .get("pin")
            .and_then(|value| value.boolean())
            .unwrap_or(default.pin),
    }
}

fn admin(section: &mut Section<'_>) -> Option<AdminSpec> {
    let listen = section.get("listen").map(|value| admin_address(&value));
    let token = section.get("token").map(|value| secret(&value));
    match (listen, token) {
        (Some(listen), Some(token)) => Some(AdminSpec {
            listen: listen?,
            token: token?.value,
        }),
        (None, _) => section.lacks("listen", "an address of this machine, such as \"127.0.0.1:9180\""),
        (_, None) => section.lacks("token", "{ file = \"PATH\" } or { env = \"NAME\" }"),
    }
}

fn admin_address(value: &Value<'_>) -> Option<SocketAddr> {
    match value.string()?.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(address),
        _ => value
            .expected("an address of this machine, such as \"127.0.0.1:9180\": others reach it by a tunnel"),
    }
}

fn listen(value: &Value<'_>, has_tls: bool) -> Option<Vec<Address>> {
    let elements = value.elements("addresses")?;
    if elements.is_empty() {
        return value.wrong(
            "manifest-value",
            format_args!("{} has no address", value.path()),
            None,
        );
    }
    let mut listen: Vec<Address> = Vec::new();
    for element in elements {
        let Some(text) = element.string() else { continue };
        match text.parse::<Address>() {
            Ok(address) if listen.iter().any(|other| other.conflicts_with(&address)) => {
                let message = format!("{} repeats {address}", element.path());
                element.wrong::<()>("manifest-value", message, None);
            }
            Ok(address) if address.is_tls() && !has_tls => {
                let message = format!(
                    "{} needs a certificate, and there is no [server.tls]",
                    element.path()
                );
                let help = "add [server.tls] with certificate = \"cert.pem\" and key = \"key.pem\"";
                element.wrong::<()>("manifest-value", message, Some(help.to_owned()));
            }
            Ok(address) => listen.push(address),
            Err(_) => {
                element.expected::<()>(
                    "an address such as \"127.0.0.1:8080\", \"https://[::1]:8443\" or \"unix:/run/site.sock\"",
                );
            }
        }
    }
    Some(listen)
}

fn tls(section: &mut Section<'_>) -> Option<TlsFiles> {
    let certificate = section.get("certificate").map(|value| file(&value));
    let key = section.get("key").map(|value| file(&value));
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: certificate?,
            key: key?,
        }),
        (certificate, _) => {
            let missing = if certificate.is_none() {
                "certificate"
            } else {
                "key"
            };
            section.lacks(missing, "the path of a PEM file, as seen from the root")
        }
    }
}

fn file(value: &Value<'_>) -> Option<PathBuf> {
    match value.string()? {
        "" => value.expected("the path of a PEM file"),
        text => Some(text.into()),
    }
}

fn limits(section: &mut Section<'_>) -> ServerLimits {
    let default = ServerLimits::default();
    let connections = section
        .get("connections")
        .and_then(|value| value.number(ServerLimits::CONNECTIONS))
        .and_then(|number| usize::try_from(number).ok());
    let header_size = section
        .get("header-size")
        .and_then(|value| value.size(ServerLimits::HEADER_SIZE))
        .and_then(|size| usize::try_from(size).ok());
    let memory = section
        .get("memory")
        .and_then(|value| value.size(ServerLimits::MEMORY));
    let mut time = |key, default| {
        let value: Option<Value<'_>> = section.get(key);
        value
            .and_then(|value| value.duration(ServerLimits::TIME))
            .unwrap_or(default)
    };
    ServerLimits {
        connections: connections.unwrap_or(default.connections),
        header_size: header_size.unwrap_or(default.header_size),
        header_time: time("header-time", default.header_time),
        idle_time: time("idle-time", default.idle_time),
        write_time: time("write-time", default.write_time),
        shutdown_time: time("shutdown-time", default.shutdown_time),
        memory,
    }
}
