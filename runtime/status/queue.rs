//! A bounded queue of events whose sending end never waits: whoever takes them may hang. What finds no
//! room is counted, and the count takes its place in the queue as soon as there is room again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use super::{Event, Record};

/// The end that records are put into.
#[derive(Clone)]
pub struct Sending {
    records: SyncSender<Record>,
    lost: Arc<AtomicU64>,
    /// What is logged when a record is lost, once until there is room again.
    warning: &'static str,
}

/// The end that they are taken from.
pub struct Taking {
    records: Receiver<Record>,
    /// How many found no room since that was last told.
    lost: Arc<AtomicU64>,
}

pub fn queue(limit: usize, warning: &'static str) -> (Sending, Taking) {
    let (sender, receiver) = sync_channel(limit);
    let lost = Arc::<AtomicU64>::default();
    let sending = Sending {
        records: sender,
        lost: lost.clone(),
        warning,
    };
    let taking = Taking {
        records: receiver,
        lost,
    };
    (sending, taking)
}

impl Sending {
    /// Never blocks.
    pub fn send(&self, record: Record) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let told = lost == 0 || self.records.try_send(Record::lost(lost)).is_ok();
        if !told {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        } else if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("{}", self.warning);
        }
    }
}

impl Taking {
    /// Waits for the next one; `None` when no more can come.
    pub fn take(&self) -> Option<Record> {
        self.records.recv().ok().or_else(|| self.rest())
    }

    /// As `take`, but no longer than this.
    pub fn take_within(&self, time: Duration) -> Result<Record, RecvTimeoutError> {
        let taken = self.records.recv_timeout(time);
        taken.or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(error),
            RecvTimeoutError::Disconnected => self.rest().ok_or(error),
        })
    }

    /// What was lost after the last one that found room.
    fn rest(&self) -> Option<Record> {
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => None,
            lost => Some(Record::lost(lost)),
        }
    }
}

impl Record {
    pub fn lost(count: u64) -> Self {
        Self::now(Event::Lost { count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Record {
        Record::now(Event::Recovered {
            group: "shop".into(),
            generation: number,
        })
    }

    /// Generations, and how many were lost, as `-3`.
    fn told(record: Record) -> String {
        match record.event {
            Event::Recovered { generation, .. } => generation.to_string(),
            Event::Lost { count } => format!("-{count}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_in_its_place() {
        let (sending, taking) = queue(3, "full");
        (1..=5).for_each(|number| sending.send(record(number)));
        let take = || told(taking.take().unwrap());
        assert_eq!([take(), take()], ["1", "2"]);
        sending.send(record(6));
        assert_eq!([take(), take(), take()], ["3", "-2", "6"]);
        (7..=10).for_each(|number| sending.send(record(number)));
        drop(sending);
        assert_eq!([take(), take(), take(), take()], ["7", "8", "9", "-1"]);
        assert!(taking.take().is_none());
    }

    #[test]
    fn a_count_that_finds_no_room_is_not_lost() {
        let (sending, taking) = queue(1, "full");
        (1..=3).for_each(|number| sending.send(record(number)));
        assert_eq!(told(taking.take().unwrap()), "1");
        // Room for the count alone: what comes with it is lost after it.
        sending.send(record(4));
        sending.send(record(5));
        drop(sending);
        let rest = || taking.take_within(Duration::ZERO).map(told);
        assert_eq!([rest(), rest()].map(Result::unwrap), ["-2", "-2"]);
        assert_eq!(rest(), Err(RecvTimeoutError::Disconnected));
    }
}
