//! The file of all durable spaces: a redb database with a table for each group and one for their sizes.
//! Every call may wait for the disk.

use std::{
    collections::{BTreeMap, btree_map::Entry},
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
        let mut tables = Tables::new(&transaction)?;
        let outcomes = wanted
            .iter()
            .map(|wanted| tables.apply(wanted))
            .collect::<std::result::Result<_, _>>()?;
        tables.finish()?;
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

/// The tables of a transaction, each opened once.
struct Tables<'t> {
    transaction: &'t WriteTransaction,
    sizes: redb::Table<'t, &'static str, u64>,
    spaces: BTreeMap<&'t str, SpaceTable<'t>>,
}

struct SpaceTable<'t> {
    table: redb::Table<'t, &'static str, &'static [u8]>,
    /// Bytes of its keys and values.
    size: u64,
}

impl<'t> Tables<'t> {
    fn new(transaction: &'t WriteTransaction) -> std::result::Result<Self, redb::Error> {
        Ok(Self {
            transaction,
            sizes: transaction.open_table(SIZES)?,
            spaces: BTreeMap::new(),
        })
    }

    fn apply(&mut self, wanted: &'t Wanted) -> std::result::Result<Result<Outcome>, redb::Error> {
        let group = &*wanted.group;
        let space = match self.spaces.entry(group) {
            Entry::Occupied(space) => space.into_mut(),
            Entry::Vacant(place) => place.insert(SpaceTable {
                table: self.transaction.open_table(Table::new(&table_name(group)))?,
                size: self.sizes.get(group)?.map_or(0, |size| size.value()),
            }),
        };
        Ok(space.apply(&wanted.change, wanted.limit)?)
    }

    /// Writes down what the groups have come to.
    fn finish(mut self) -> std::result::Result<(), redb::Error> {
        for (group, space) in &self.spaces {
            self.sizes.insert(*group, space.size)?;
        }
        Ok(())
    }
}

impl SpaceTable<'_> {
    fn apply(&mut self, change: &Change, limit: u64) -> std::result::Result<Result<Outcome>, StorageError> {
        match change {
            Change::Delete(keys) => {
                for key in keys {
                    let before = self.table.remove(key.as_str())?;
                    self.size = self.size.saturating_sub(bytes_of(key, before));
                }
                Ok(Ok(Outcome::Done))
            }
            Change::Set(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (key.as_str(), &**value))
                    .collect();
                self.set(&entries, limit, Outcome::Done)
            }
            Change::Increment(key, delta) => {
                let value = self.table.get(key.as_str())?;
                let sum = sum(value.as_ref().map(|value| value.value()), *delta);
                drop(value);
                match sum {
                    Ok(sum) => self.set(&[(key, sum.to_string().as_bytes())], limit, Outcome::Sum(sum)),
                    Err(error) => Ok(Err(error)),
                }
            }
            Change::Swap { key, expected, value } => {
                let now = self.table.get(key.as_str())?;
                let now = now.map(|now| Bytes::copy_from_slice(now.value()));
                if now != *expected {
                    return Ok(Ok(Outcome::Differs(now)));
                }
                self.set(&[(key, value)], limit, Outcome::Done)
            }
        }
    }

    /// Refused, where the space would come to more than `limit`.
    fn set(
        &mut self,
        entries: &[(&str, &[u8])],
        limit: u64,
        outcome: Outcome,
    ) -> std::result::Result<Result<Outcome>, StorageError> {
        let mut grown = self.size;
        for (key, value) in entries {
            let had = bytes_of(key, self.table.get(*key)?);
            grown = grown.saturating_sub(had) + (key.len() + value.len()) as u64;
        }
        // What makes it smaller is let through where the limit was lowered.
        if grown > limit && grown > self.size {
            return Ok(Err(refused(format!(
                "the group's {limit} bytes of keys and values are used up"
            ))));
        }
        for (key, value) in entries {
            let before = self.table.insert(*key, *value)?;
            self.size = self.size.saturating_sub(bytes_of(key, before)) + (key.len() + value.len()) as u64;
        }
        Ok(Ok(outcome))
    }
}

/// Bytes of a key and the value that it has, if it has one.
fn bytes_of(key: &str, value: Option<redb::AccessGuard<'_, &'static [u8]>>) -> u64 {
    value.map_or(0, |value| (key.len() + value.value().len()) as u64)
}
