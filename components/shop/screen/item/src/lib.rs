//! One product, large, with a form that puts it into the cart. `/items/{id}`, or `?id=` on the default route.
//! The form is answered by the cart's screen.

use std::cell::Cell;

use exports::wasmhost::page::handler::{Guest, Request, Response};
use site::shop::catalog::{Availability, Product};
use site::shop::layout::{Action, Badge, Card, Link, Page, Section};
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

struct Item;

impl Guest for Item {
    fn handle(request: Request) -> Response {
        CALLS.set(CALLS.get() + 1);
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return not_allowed();
        }
        let id = id(&request);
        match catalog::find(&id) {
            Some(product) => item(product),
            None => not_found(&id),
        }
    }
}

export!(Item);

fn id(request: &Request) -> String {
    let captured = request
        .params
        .iter()
        .find(|(name, _)| name == "id")
        .map(|(_, value)| value.clone());
    let asked = || {
        let query = request.query.as_deref().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "id")
            .map(|(_, value)| value.into_owned())
    };
    captured.or_else(asked).unwrap_or_default()
}

fn item(product: Product) -> Response {
    let page = open(&product.name, Place::Item(product.name.clone()));
    page.add_section(&Section::Feature(card(product)));
    page.add_section(&back());
    close(page, 200)
}

fn not_found(id: &str) -> Response {
    let page = open("Not found", Place::Elsewhere);
    let text = format!("The shop has nothing by the name of “{id}”.");
    page.add_section(&Section::Opening(("Not found".into(), text)));
    page.add_section(&back());
    close(page, 404)
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

fn back() -> Section {
    Section::Links(vec![Link {
        name: "back".into(),
        label: "Back to all goods".into(),
        href: "/".into(),
        current: false,
        badge: None,
    }])
}

fn card(product: Product) -> Card {
    let (badge, for_sale) = match product.availability {
        Availability::InStock(pieces) => (Badge::Good(format!("{pieces} in stock")), true),
        Availability::ToOrder(days) => (Badge::Quiet(format!("Made for you in {days} days")), true),
        Availability::SoldOut => (Badge::Quiet("Sold out".into()), false),
    };
    Card {
        href: None,
        action: for_sale.then(|| Action {
            label: "Add to cart".into(),
            hint: product.name.clone(),
            href: "/cart".into(),
            fields: vec![
                ("do".into(), "add".into()),
                ("product".into(), product.id.clone()),
            ],
            amount: Some(1),
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
    page.add_part("shop.screen.item", VERSION, CALLS.get());
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
