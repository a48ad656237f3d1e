//! The cart: its lines are the memory of this component, shared by all who visit the site.
//! A new generation starts with an empty one. It knows products by their id only.

use std::cell::{Cell, RefCell};

use exports::site::shop::cart::{Guest, Line, Refusal};

wit_bindgen::generate!({
    path: ["../../../../wit/page.wit", "../../wit"],
    world: "site:shop/widget-cart",
    generate_all,
});

const VERSION: &str = "1.0.0";
const MOST_LINES: usize = 100;
const MOST_PER_LINE: u32 = 9_999;

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Cart;

impl Guest for Cart {
    fn add(product: String, amount: u32) -> Result<u32, Refusal> {
        called();
        LINES.with_borrow_mut(|lines| add(lines, product, amount))
    }

    fn remove(product: String) -> Result<u32, Refusal> {
        called();
        LINES.with_borrow_mut(|lines| remove(lines, product))
    }

    fn clear() {
        called();
        LINES.with_borrow_mut(Vec::clear);
    }

    fn count() -> u32 {
        called();
        LINES.with_borrow(|lines| count(lines))
    }

    fn lines() -> Vec<Line> {
        called();
        LINES.with_borrow(Vec::clone)
    }

    fn version() -> String {
        VERSION.into()
    }

    fn calls() -> u64 {
        CALLS.get()
    }
}

export!(Cart);

fn called() {
    CALLS.set(CALLS.get() + 1);
}

fn add(lines: &mut Vec<Line>, product: String, amount: u32) -> Result<u32, Refusal> {
    if amount == 0 {
        return Err(Refusal::NoAmount);
    }
    let known = lines.iter().position(|line| line.product == product);
    let already = known.map_or(0, |at| lines[at].amount);
    let amount = already.saturating_add(amount);
    if amount > MOST_PER_LINE {
        return Err(Refusal::TooMany(MOST_PER_LINE));
    }
    match known {
        Some(at) => lines[at].amount = amount,
        None if lines.len() == MOST_LINES => return Err(Refusal::TooLong(MOST_LINES as u32)),
        None => lines.push(Line { product, amount }),
    }
    Ok(count(lines))
}

fn remove(lines: &mut Vec<Line>, product: String) -> Result<u32, Refusal> {
    match lines.iter().position(|line| line.product == product) {
        Some(at) => drop(lines.remove(at)),
        None => return Err(Refusal::NotThere(product)),
    }
    Ok(count(lines))
}

fn count(lines: &[Line]) -> u32 {
    lines.iter().map(|line| line.amount).sum()
}
