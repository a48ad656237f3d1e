//! A way to a server that can be cut: nothing passes then, and nobody is told, as where a network parts.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
};

pub struct Cable {
    address: String,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_cut: Mutex<bool>,
    mended: Condvar,
}

impl Gate {
    fn pass(&self) {
        let cut = self.is_cut.lock().unwrap();
        drop(self.mended.wait_while(cut, |is_cut| *is_cut).unwrap());
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            self.pass();
            if to.write_all(&bytes[..read]).is_err() {
                break;
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
                    std::thread::spawn(move || back.carry(back_from, back_to));
                    gate.carry(here, there);
                });
            }
        });
        Self { address, gate }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn cut(&self) {
        *self.gate.is_cut.lock().unwrap() = true;
    }

    pub fn mend(&self) {
        *self.gate.is_cut.lock().unwrap() = false;
        self.gate.mended.notify_all();
    }
}
