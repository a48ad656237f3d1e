//! The products of the shop, as records. A library without state, but for the count of its look-ups.
//! It knows nothing of pages.

use std::cell::Cell;

use exports::site::shop::catalog::{Availability, Guest, Product};

wit_bindgen::generate!({
    path: ["../../../../wit/page.wit", "../../wit"],
    world: "site:shop/widget-catalog",
    generate_all,
});

const VERSION: &str = "1.0.0";

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Catalog;

impl Guest for Catalog {
    fn products() -> Vec<Product> {
        CALLS.set(CALLS.get() + 1);
        shelf()
    }

    fn find(id: String) -> Option<Product> {
        CALLS.set(CALLS.get() + 1);
        shelf().into_iter().find(|product| product.id == id)
    }

    fn version() -> String {
        VERSION.into()
    }

    fn calls() -> u64 {
        CALLS.get()
    }
}

export!(Catalog);

fn shelf() -> Vec<Product> {
    use Availability::{InStock, SoldOut, ToOrder};
    vec![
        Product {
            id: "mug".into(),
            name: "Morning mug".into(),
            text: "Thrown by hand, glazed in oat, and large enough for the whole first hour of the day."
                .into(),
            price: 24_00,
            availability: InStock(12),
            picture: include_str!("pictures/mug.svg").into(),
        },
        Product {
            id: "kettle".into(),
            name: "Slow kettle".into(),
            text: "Enamelled steel with a beech handle. It whistles, but it waits until you are awake."
                .into(),
            price: 68_00,
            availability: InStock(3),
            picture: include_str!("pictures/kettle.svg").into(),
        },
        Product {
            id: "teapot".into(),
            name: "Teapot for two".into(),
            text: "Stoneware that keeps four cups warm for one conversation. The lid stays on when you pour."
                .into(),
            price: 54_50,
            availability: ToOrder(10),
            picture: include_str!("pictures/teapot.svg").into(),
        },
        Product {
            id: "bowl".into(),
            name: "Ramen bowl".into(),
            text: "Deep, wide and heavy, with a foot that stays cool in the hand. Chopsticks included."
                .into(),
            price: 32_00,
            availability: InStock(40),
            picture: include_str!("pictures/bowl.svg").into(),
        },
        Product {
            id: "vase".into(),
            name: "Single-stem vase".into(),
            text: "For the one flower that was worth picking. Fired twice, glazed once, never quite even."
                .into(),
            price: 41_00,
            availability: InStock(7),
            picture: include_str!("pictures/vase.svg").into(),
        },
        Product {
            id: "jar".into(),
            name: "Biscuit jar".into(),
            text: "Holds three dozen, or one evening's worth. The lid is loud on purpose.".into(),
            price: 38_00,
            availability: SoldOut,
            picture: include_str!("pictures/jar.svg").into(),
        },
    ]
}
