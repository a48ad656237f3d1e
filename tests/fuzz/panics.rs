//! Panics on the threads of one test, with the place that each came from.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::{Mutex, Once, PoisonError},
};

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs `work`, on this thread and those of a compiler. Panics with the place of a panic in it.
pub fn contained(work: impl FnOnce()) {
    listen();
    WATCHED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    WATCHED.set(false);
    if result.is_err() {
        let places = std::mem::take(&mut *PLACES.lock().unwrap_or_else(PoisonError::into_inner));
        panic!("panicked at {places:?}");
    }
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            let compiles = std::thread::current()
                .name()
                .is_some_and(|name| name.starts_with("compile-"));
            if WATCHED.get() || compiles {
                PLACES
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(info.to_string());
            } else {
                before(info);
            }
        }));
    });
}
