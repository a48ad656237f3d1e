//! The file of all durable spaces: a redb database with a table for each group and one for their sizes.
//! Every call may wait for the disk.

use std::{
    fs,
    ops::Bound,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError,
    TableHandle, WriteTransaction, backends::InMemoryBackend,
};

use super::{Change, Error, MAX_BATCH_SIZE, Outcome, PAGE, Page, Result, batch_too_large, refused, sum};

/// Bytes of the file that are held in memory.
const CACHE: usize = 32 << 20;
/// Bytes of the disk that a change leaves free: the database needs room to end a transaction.
const HEADROOM: u64 = 32 << 20;

/// Bytes of the keys and values of each group.
const SIZES: TableDefinition<&str, u64> = TableDefinition::new("sizes");

type Table<'t> = TableDefinition<'t, &'static str, &'static [u8]>;

/// Apart from the table of sizes, whatever a group is called.
fn table_name(group: &str) -> String {
    format!("{SPACE}{group}")
}

const SPACE: &str = "space/";

/// A change of one group, which may then have `limit` bytes.
pub struct Wanted {
    pub group: std::sync::Arc<str>,
    pub limit: u64,
    pub change: Change,
}

pub struct File {
    database: Database,
    /// `None` in memory.
    path: Option<PathBuf>,
}

impl File {
    /// Opens the file or makes it; after a crash it is repaired. Without a path it is memory.
    pub fn open(path: Option<&Path>) -> std::result::Result<Self, redb::Error> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let database = match path {
            Some(path) => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(redb::Error::Io)?;
                }
                builder.create(path)?
            }
            None => builder.create_with_backend(InMemoryBackend::new())?,
        };
        Ok(Self {
            database,
            path: path.map(Path::to_owned),
        })
    }

    /// The values of the keys, in one look. Errors: refused where they are too large together.
    pub fn get(
        &self,
        group: &str,
        keys: &[String],
    ) -> std::result::Result<Result<Vec<Option<Bytes>>>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let name = table_name(group);
        let table = match transaction.open_table(Table::new(&name)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Ok(vec![None; keys.len()])),
            Err(error) => return Err(error.into()),
        };
        let (mut values, mut size) = (Vec::new(), 0);
        for key in keys {
            let value = table.get(key.as_str())?;
            size += value.as_ref().map_or(0, |value| value.value().len());
            if size > MAX_BATCH_SIZE {
                return Ok(Err(batch_too_large()));
            }
            values.push(value.map(|value| Bytes::copy_from_slice(value.value())));
        }
        Ok(Ok(values))
    }

    /// The page of keys behind `after`.
    pub fn keys(&self, group: &str, after: Option<&str>) -> std::result::Result<Page, redb::Error> {
        let nothing = Page {
            keys: Vec::new(),
            next: None,
        };
        let transaction = self.database.begin_read()?;
        let name = table_name(group);
        let table = match transaction.open_table(Table::new(&name)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(nothing),
            Err(error) => return Err(error.into()),
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = table.range::<&str>((from, Bound::Unbounded))?;
        let mut keys = Vec::new();
        for entry in range.by_ref().take(PAGE) {
            keys.push(entry?.0.value().to_owned());
        }
        let is_more = range.next().transpose()?.is_some();
        let last = keys.last().filter(|_| is_more).cloned();
        Ok(Page {
            keys,
            next: last.map(super::Cursor::After),
        })
    }

    /// The groups that have a space.
    pub fn groups(&self) -> std::result::Result<Vec<String>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let tables = transaction.list_tables()?;
        let names = tables.filter_map(|table| Some(table.name().strip_prefix(SPACE)?.to_owned()));
        Ok(names.collect())
    }

    /// Carries out all changes, in their order, in one transaction: on disk when this comes back. What is
    /// refused changes nothing; what fails, fails for all of them.
    pub fn change(&self, wanted: &[Wanted]) -> std::result::Result<Vec<Result<Outcome>>, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let outcomes = wanted
            .iter()
            .map(|wanted| apply(&transaction, wanted))
            .collect::<std::result::Result<_, _>>()?;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// Says so where the disk has no room for changes of this size. What is found out only by a transaction
    /// that fails costs opening the file anew.
    pub fn check_room(&self, size: u64) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let free =
            rustix::fs::statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free < HEADROOM.saturating_add(size.saturating_mul(2)) {
            let path = path.display();
            return Err(Error::Failed(format!(
                "the disk of {path} is full: {free} bytes are free"
            )));
        }
        Ok(())
    }
}

/// True where the database is of no use until it is opened anew.
pub fn is_broken(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_)
            | redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_)
    )
}

fn apply(
    transaction: &WriteTransaction,
    wanted: &Wanted,
) -> std::result::Result<Result<Outcome>, redb::Error> {
    let Wanted { group, limit, change } = wanted;
    let name = table_name(group);
    let mut table = transaction.open_table(Table::new(&name))?;
    let mut sizes = transaction.open_table(SIZES)?;
    let mut size = sizes.get(&**group)?.map_or(0, |size| size.value());
    let had = |table: &redb::Table<'_, &str, &[u8]>, key: &str| -> std::result::Result<u64, StorageError> {
        let value = table.get(key)?;
        Ok(value.map_or(0, |value| (key.len() + value.value().len()) as u64))
    };
    let (entries, outcome): (Vec<(&str, Bytes)>, Outcome) = match change {
        Change::Delete(keys) => {
            for key in keys {
                size = size.saturating_sub(had(&table, key)?);
                table.remove(key.as_str())?;
            }
            sizes.insert(&**group, size)?;
            return Ok(Ok(Outcome::Done));
        }
        Change::Set(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.as_str(), value.clone()));
            (entries.collect(), Outcome::Done)
        }
        Change::Increment(key, delta) => {
            let value = table.get(key.as_str())?;
            match sum(value.as_ref().map(|value| value.value()), *delta) {
                Ok(sum) => (vec![(key, sum.to_string().into())], Outcome::Sum(sum)),
                Err(error) => return Ok(Err(error)),
            }
        }
        Change::Swap { key, expected, value } => {
            let now = table.get(key.as_str())?;
            let now = now.as_ref().map(|value| value.value());
            if now != expected.as_deref() {
                return Ok(Ok(Outcome::Differs(now.map(Bytes::copy_from_slice))));
            }
            (vec![(key, value.clone())], Outcome::Done)
        }
    };
    let mut grown = size;
    for (key, value) in &entries {
        grown = grown.saturating_sub(had(&table, key)?) + (key.len() + value.len()) as u64;
    }
    // What makes it smaller is let through where the limit was lowered.
    if grown > *limit && grown > size {
        return Ok(Err(refused(format!(
            "the group's {limit} bytes of keys and values are used up"
        ))));
    }
    for (key, value) in &entries {
        let before = table.insert(*key, &**value)?;
        let before = before.map_or(0, |before| (key.len() + before.value().len()) as u64);
        size = size.saturating_sub(before) + (key.len() + value.len()) as u64;
    }
    sizes.insert(&**group, size)?;
    Ok(Ok(outcome))
}
