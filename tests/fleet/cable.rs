//! A way to a server that can be cut: nothing passes then, and nobody is told, as where a network parts. It can be slow,
//! and it can break: then connections end in the middle of what passes.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

pub struct Cable {
    address: String,
    gate: Arc<Gate>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    /// Of an answer that is not small, bytes pass one by one, with a pause after each.
    Slow,
    Cut,
    /// So many bytes of an answer pass, and the connection ends.
    Breaks(usize),
}

impl Way {
    /// What holds for questions.
    fn there(self) -> Self {
        match self {
            Self::Cut => Self::Cut,
            _ => Self::Open,
        }
    }
}

#[derive(Default)]
struct Gate {
    way: Mutex<Way>,
    changed: Condvar,
}

/// Bytes that pass at once on a slow way.
const SMALL: usize = 8 << 10;
/// After each byte of what is more.
const PAUSE: Duration = Duration::from_millis(20);

impl Gate {
    fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
        self.changed.notify_all();
    }

    /// The way, once it is not cut.
    fn pass(&self) -> Way {
        let way = self.way.lock().unwrap();
        *self.changed.wait_while(way, |way| *way == Way::Cut).unwrap()
    }

    /// Until the way is another, but no longer than that.
    fn rest(&self) {
        let way = self.way.lock().unwrap();
        drop(
            self.changed
                .wait_timeout_while(way, PAUSE, |way| *way == Way::Slow),
        );
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut bytes = [0; 16 << 10];
        let mut passed = 0;
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let mut rest = &bytes[..read];
            while !rest.is_empty() {
                let way = if is_answer {
                    self.pass()
                } else {
                    self.pass().there()
                };
                let (now, broken) = match way {
                    Way::Slow if passed >= SMALL => (1, false),
                    Way::Slow => (rest.len().min(SMALL - passed), false),
                    Way::Breaks(most) if passed + rest.len() > most => (most.saturating_sub(passed), true),
                    _ => (rest.len(), false),
                };
                let sent = to.write_all(&rest[..now]);
                if broken {
                    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
                }
                if broken || sent.is_err() {
                    return;
                }
                (passed, rest) = (passed + now, &rest[now..]);
                if way == Way::Slow && now == 1 {
                    self.rest();
                }
            }
        }
        self.pass();
        let _ = to.shutdown(Shutdown::Write);
    }
}

impl Cable {
    pub fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gate = Arc::<Gate>::default();
        let (carried, target) = (gate.clone(), target.to_owned());
        // It ends with the tests.
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let (gate, target) = (carried.clone(), target.clone());
                std::thread::spawn(move || {
                    gate.pass();
                    let Ok(there) = TcpStream::connect(target) else {
                        return;
                    };
                    let (back_from, back_to) = (there.try_clone().unwrap(), here.try_clone().unwrap());
                    let back = gate.clone();
                    std::thread::spawn(move || back.carry(back_from, back_to, true));
                    gate.carry(here, there, false);
                });
            }
        });
        Self { address, gate }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn cut(&self) {
        self.gate.set(Way::Cut);
    }

    /// What is large takes long from here on, and never stands still.
    pub fn slow(&self) {
        self.gate.set(Way::Slow);
    }

    /// Connections end when so many bytes of answers have passed.
    pub fn break_after(&self, bytes: usize) {
        self.gate.set(Way::Breaks(bytes));
    }

    pub fn mend(&self) {
        self.gate.set(Way::Open);
    }
}
