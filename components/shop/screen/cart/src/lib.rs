//! The cart's screen: shows its lines, and takes the forms that change it.
//! The lines live in the widget; this screen only reads a form and answers "see /cart".

mod form;

use std::cell::Cell;

use exports::wasmhost::page::handler::{Guest, Request, Response};
use form::Change;
use site::shop::cart::{Line, Refusal};
use site::shop::catalog::{Availability, Product};
use site::shop::layout::{Action, Badge, Bill, Link, Page, Row, Section};
use site::shop::navigation::Place;
use site::shop::{cart, catalog, navigation};

wit_bindgen::generate!({
    path: ["../../../../wit/page.wit", "../../wit"],
    world: "site:shop/screen",
    generate_all,
});

const VERSION: &str = "1.0.0";

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Cart;

impl Guest for Cart {
    fn handle(request: Request) -> Response {
        CALLS.set(CALLS.get() + 1);
        match request.method.as_str() {
            "GET" | "HEAD" => show(200, None),
            "POST" => change(&request.body),
            _ => not_allowed(),
        }
    }
}

export!(Cart);

fn change(body: &[u8]) -> Response {
    let Some(change) = form::read(body) else {
        return show(400, Some("The form could not be read, so nothing was changed."));
    };
    let done = match change {
        Change::Add { product, amount } => match catalog::find(&product) {
            None => {
                return show(
                    404,
                    Some(&format!("The shop has nothing by the name of “{product}”.")),
                );
            }
            Some(Product {
                availability: Availability::SoldOut,
                name,
                ..
            }) => {
                return show(409, Some(&format!("{name}: sold out.")));
            }
            Some(_) => cart::add(&product, amount).map(drop),
        },
        Change::Remove { product } => cart::remove(&product).map(drop),
        Change::Clear => {
            cart::clear();
            Ok(())
        }
    };
    match done {
        Ok(()) => Response {
            status: 303,
            headers: vec![("location".into(), b"/cart".into())],
            body: vec![],
        },
        Err(Refusal::NoAmount) => show(400, Some("None of it is nothing to add.")),
        Err(Refusal::TooMany(most)) => show(409, Some(&format!("A cart takes {most} pieces of one kind."))),
        Err(Refusal::TooLong(most)) => show(409, Some(&format!("A cart takes {most} kinds of goods."))),
        Err(Refusal::NotThere(product)) => show(409, Some(&format!("There is no “{product}” in the cart."))),
    }
}

fn show(status: u16, refused: Option<&str>) -> Response {
    let page = open("Cart", Place::Cart);
    let lines = cart::lines();
    let lead = if lines.is_empty() {
        "It is empty."
    } else {
        "Everyone who visits this shop shares it."
    };
    page.add_section(&Section::Opening(("Your cart".into(), lead.into())));
    if let Some(refused) = refused {
        page.add_section(&Section::Notice(Badge::Warning(refused.into())));
    }
    if !lines.is_empty() {
        page.add_section(&Section::Bill(bill(lines)));
    }
    page.add_section(&Section::Links(vec![Link {
        name: "back".into(),
        label: "Back to all goods".into(),
        href: "/".into(),
        current: false,
        badge: None,
    }]));
    close(page, status)
}

fn not_allowed() -> Response {
    let page = open("Not here", Place::Elsewhere);
    page.add_section(&Section::Opening((
        "Not here".into(),
        "The cart can be read and posted to.".into(),
    )));
    let mut response = close(page, 405);
    response.headers.push(("allow".into(), b"GET, HEAD, POST".into()));
    response
}

fn bill(lines: Vec<Line>) -> Bill {
    let rows: Vec<Row> = lines.into_iter().filter_map(row).collect();
    Bill {
        total: rows.iter().map(|row| row.price).fold(0, u32::saturating_add),
        rows,
        action: action("Empty the cart", "", vec![("do".into(), "clear".into())]),
    }
}

fn row(line: Line) -> Option<Row> {
    let product = catalog::find(&line.product)?;
    Some(Row {
        href: format!("/items/{}", product.id),
        amount: line.amount,
        price: product.price.saturating_mul(line.amount),
        action: action(
            "Remove",
            &product.name,
            vec![
                ("do".into(), "remove".into()),
                ("product".into(), product.id.clone()),
            ],
        ),
        name: product.id,
        heading: product.name,
    })
}

fn action(label: &str, hint: &str, fields: Vec<(String, String)>) -> Action {
    Action {
        label: label.into(),
        hint: hint.into(),
        href: "/cart".into(),
        fields,
        amount: None,
    }
}

fn open(title: &str, place: Place) -> Page {
    let page = Page::new(title);
    navigation::draw(&page, &place, cart::count());
    page
}

fn close(page: Page, status: u16) -> Response {
    page.add_part(
        "shop.navigation.menu",
        &navigation::version(),
        navigation::calls(),
    );
    page.add_part("shop.widget.cart", &cart::version(), cart::calls());
    page.add_part("shop.widget.catalog", &catalog::version(), catalog::calls());
    page.add_part("shop.screen.cart", VERSION, CALLS.get());
    let headers = vec![
        ("content-type".into(), b"text/html; charset=utf-8".into()),
        ("cache-control".into(), b"no-store".into()),
    ];
    Response {
        status,
        headers,
        body: page.render().into(),
    }
}
