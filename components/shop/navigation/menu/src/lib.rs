//! The main menu: which links there are and which of them is the current one, drawn onto a page of the frame.
//! How a link looks is the frame's business.

use std::cell::Cell;

use exports::site::shop::navigation::{Guest, Link, Place};
use site::shop::layout::{Badge, Page};

wit_bindgen::generate!({
    path: ["../../../../wit/page.wit", "../../wit"],
    world: "site:shop/navigation-menu",
    generate_all,
});

const VERSION: &str = "1.0.0";

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Menu;

impl Guest for Menu {
    fn entries(current: Place, in_cart: u32) -> Vec<Link> {
        let mut links = vec![link("home", "All goods", "/", matches!(current, Place::Home))];
        if let Place::Item(name) = &current {
            links.push(link("item", name, "", true));
        }
        links.push(Link {
            badge: Some(Badge::Count(in_cart)),
            ..link("cart", "Cart", "/cart", matches!(current, Place::Cart))
        });
        links
    }

    fn draw(page: &Page, current: Place, in_cart: u32) {
        CALLS.set(CALLS.get() + 1);
        page.set_menu(&Self::entries(current, in_cart));
    }

    fn version() -> String {
        VERSION.into()
    }

    fn calls() -> u64 {
        CALLS.get()
    }
}

export!(Menu);

fn link(name: &str, label: &str, href: &str, current: bool) -> Link {
    Link {
        name: name.into(),
        label: label.into(),
        href: href.into(),
        current,
        badge: None,
    }
}
