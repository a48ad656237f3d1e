//! A page whose query says what it does with its keys and values: `?set=KEY` sets the request's body,
//! `?get=KEY`, `?increment=KEY,2`. What ends with `-1` is done by 0.2.0-draft, all else by 0.2.0-draft2.

use exports::wasmhost::page::handler::{Guest, Request, Response};
use wasi::keyvalue0_2_0_draft as draft;
use wasi::keyvalue0_2_0_draft2::{
    atomics::{self, Cas, CasError},
    batch,
    store::{self, Bucket},
};

wit_bindgen::generate!({
    path: [
        "../../../wit/page.wit",
        "../../../wit/keyvalue/draft.wit",
        "../../../wit/keyvalue/draft2.wit",
    ],
    inline: "
        package test:keyvalue;
        world guest {
            include wasmhost:page/page@0.1.0;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
        }
    ",
    world: "test:keyvalue/guest",
    generate_all,
});

struct KeyValue;

impl Guest for KeyValue {
    fn handle(request: Request) -> Response {
        let query = request.query.unwrap_or_default();
        let (what, how) = query.split_once('=').unwrap_or((&query, ""));
        let done = match what.strip_suffix("-1") {
            Some(what) => by_draft(what, how),
            None => by_draft2(what, how, request.body),
        };
        let (status, body) = match done {
            Ok(body) => (200, body),
            Err(text) => (400, text.into_bytes()),
        };
        Response {
            status,
            headers: vec![],
            body,
        }
    }
}

type Done = Result<Vec<u8>, String>;

fn by_draft2(what: &str, how: &str, body: Vec<u8>) -> Done {
    if what == "open" {
        return store::open(how).map(|_| b"open".into()).map_err(told);
    }
    let bucket = &store::open("default").map_err(told)?;
    let (key, number) = how.split_once(',').unwrap_or((how, "0"));
    let number: i64 = number.parse().map_err(|_| "no number")?;
    match what {
        "set" => bucket.set(key, &body).map(|()| vec![]),
        "set-size" => bucket.set(key, &vec![b'x'; number as usize]).map(|()| vec![]),
        // Up to the first that fails.
        "set-some" => {
            let set = |index| bucket.set(&format!("{key}{index:05}"), b"some");
            (0..number).try_for_each(set).map(|()| vec![])
        }
        "get" => bucket.get(key).map(|value| match value {
            Some(value) => value,
            None => b"nothing".into(),
        }),
        "get-times" => {
            let get = |_| bucket.get(key).map(drop);
            (0..number).try_for_each(get).map(|()| vec![])
        }
        "key-size" => bucket.set(&"k".repeat(number as usize), b"").map(|()| vec![]),
        "delete" => bucket.delete(key).map(|()| vec![]),
        "exists" => bucket.exists(key).map(|exists| exists.to_string().into()),
        "increment" => atomics::increment(bucket, key, number).map(|sum| sum.to_string().into()),
        // Adds one again and again until there is a key `stop`; and says how often.
        "increment-until-stop" => {
            let mut times: u64 = 0;
            while !bucket.exists("stop").map_err(told)? {
                atomics::increment(bucket, key, 1).map_err(told)?;
                times += 1;
            }
            Ok(times.to_string().into())
        }
        "list" => {
            let (mut keys, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = bucket.list_keys(cursor.as_deref()).map_err(told)?;
                pages += 1;
                keys.extend(page.keys);
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            Ok(listed(keys, pages))
        }
        // Adds one to the value, against all others.
        "add-by-swap" => Ok(add_by_swap(bucket, key)?.to_string().into()),
        "swap-late" => Ok(swap_late(bucket, key)?.into()),
        "set-many" => {
            let entries: Vec<_> = (0..number)
                .map(|i| (format!("{key}{i:05}"), vec![i as u8; 100]))
                .collect();
            batch::set_many(bucket, &entries).map(|()| vec![])
        }
        "get-many" => {
            let keys: Vec<_> = (0..number).map(|i| format!("{key}{i:05}")).collect();
            batch::get_many(bucket, &keys).map(|entries| {
                let there = entries.iter().filter(|(_, value)| value.is_some()).count();
                format!("{there} of {}", entries.len()).into()
            })
        }
        "delete-many" => {
            let keys: Vec<_> = (0..number).map(|i| format!("{key}{i:05}")).collect();
            batch::delete_many(bucket, &keys).map(|()| vec![])
        }
        _ => return Err("unknown".into()),
    }
    .map_err(told)
}

fn add_by_swap(bucket: &Bucket, key: &str) -> Result<u64, String> {
    let mut cas = Cas::new(bucket, key).map_err(told)?;
    loop {
        let now = cas.current().map_err(told)?.unwrap_or_else(|| b"0".into());
        let now: u64 = String::from_utf8(now).unwrap().parse().unwrap();
        match atomics::swap(cas, (now + 1).to_string().as_bytes()) {
            Ok(()) => return Ok(now + 1),
            Err(CasError::CasFailed(again)) => cas = again,
            Err(CasError::StoreError(error)) => return Err(told(error)),
        }
    }
}

/// Swaps what was changed since it was seen.
fn swap_late(bucket: &Bucket, key: &str) -> Result<String, String> {
    let cas = Cas::new(bucket, key).map_err(told)?;
    bucket.set(key, b"changed").map_err(told)?;
    match atomics::swap(cas, b"swapped") {
        Ok(()) => Ok("swapped".into()),
        Err(CasError::CasFailed(again)) => Ok(format!(
            "failed, it is {}",
            String::from_utf8(again.current().map_err(told)?.unwrap()).unwrap()
        )),
        Err(CasError::StoreError(error)) => Err(told(error)),
    }
}

fn by_draft(what: &str, how: &str) -> Done {
    use draft::{atomics, batch, store};
    let told = |error| match error {
        store::Error::NoSuchStore => "no such store".to_owned(),
        store::Error::AccessDenied => "access denied".to_owned(),
        store::Error::Other(text) => text,
    };
    let bucket = &store::open("").map_err(told)?;
    let (key, number) = how.split_once(',').unwrap_or((how, "0"));
    let number: u64 = number.parse().map_err(|_| "no number")?;
    match what {
        "increment" => atomics::increment(bucket, key, number).map(|sum| sum.to_string().into()),
        "list" => {
            let (mut keys, mut cursor, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = bucket.list_keys(cursor).map_err(told)?;
                pages += 1;
                keys.extend(page.keys);
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            Ok(listed(keys, pages))
        }
        "list-from" => bucket.list_keys(Some(number)).map(|page| listed(page.keys, 1)),
        // Lists a page and deletes it, until there is none.
        "clear" => {
            let (mut cursor, mut deleted) = (None, 0);
            loop {
                let page = bucket.list_keys(cursor).map_err(told)?;
                deleted += page.keys.len();
                batch::delete_many(bucket, &page.keys).map_err(told)?;
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            Ok(deleted.to_string().into())
        }
        "get-many" => {
            let keys: Vec<_> = (0..number).map(|i| format!("{key}{i:05}")).collect();
            batch::get_many(bucket, &keys)
                .map(|entries| format!("{} of {}", entries.iter().flatten().count(), entries.len()).into())
        }
        _ => return Err("unknown".into()),
    }
    .map_err(told)
}

fn listed(mut keys: Vec<String>, pages: usize) -> Vec<u8> {
    keys.sort();
    let count = keys.len();
    keys.dedup();
    let ends = (keys.first(), keys.last());
    format!(
        "{count} keys, {} of them different, in {pages} pages, {ends:?}",
        keys.len()
    )
    .into()
}

fn told(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no such store".into(),
        store::Error::AccessDenied => "access denied".into(),
        store::Error::Other(text) => text,
    }
}

export!(KeyValue);
