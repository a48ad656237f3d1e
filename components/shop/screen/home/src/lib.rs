//! The front page: every product of the catalog as a card.
//! What a card looks like is the frame's business, what the shop sells is the catalog's.

use std::cell::Cell;

use exports::wasmhost::page::handler::{Guest, Request, Response};
use site::shop::catalog::{Availability, Product};
use site::shop::layout::{Action, Badge, Card, Page, Section};
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

struct Home;

impl Guest for Home {
    fn handle(request: Request) -> Response {
        CALLS.set(CALLS.get() + 1);
        match request.method.as_str() {
            "GET" | "HEAD" => goods(),
            _ => not_allowed(),
        }
    }
}

export!(Home);

fn goods() -> Response {
    let page = open("All goods", Place::Home);
    page.add_section(&Section::Opening((
        "Good things for slow mornings".into(),
        "Six pieces of stoneware and steel, made in small numbers and sold until they are gone.".into(),
    )));
    page.add_section(&Section::Cards(
        catalog::products().into_iter().map(card).collect(),
    ));
    close(page, 200)
}

fn not_allowed() -> Response {
    let page = open("Not here", Place::Elsewhere);
    page.add_section(&Section::Opening((
        "Not here".into(),
        "This page can only be read.".into(),
    )));
    let mut response = close(page, 405);
    response.headers.push(("allow".into(), b"GET, HEAD".into()));
    response
}

fn card(product: Product) -> Card {
    let (badge, for_sale) = match product.availability {
        Availability::InStock(pieces @ ..5) => (Badge::Warning(format!("Only {pieces} left")), true),
        Availability::InStock(_) => (Badge::Good("In stock".into()), true),
        Availability::ToOrder(days) => (Badge::Quiet(format!("Made for you in {days} days")), true),
        Availability::SoldOut => (Badge::Quiet("Sold out".into()), false),
    };
    Card {
        href: Some(format!("/items/{}", product.id)),
        action: for_sale.then(|| Action {
            label: "Add to cart".into(),
            hint: product.name.clone(),
            href: "/cart".into(),
            fields: vec![
                ("do".into(), "add".into()),
                ("product".into(), product.id.clone()),
            ],
            amount: None,
        }),
        name: product.id,
        heading: product.name,
        text: product.text,
        picture: product.picture,
        price: product.price,
        badge,
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
    page.add_part("shop.screen.home", VERSION, CALLS.get());
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
