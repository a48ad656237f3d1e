//! The page frame: the resource `page`, which screens fill with sections and render, and the look of the site.
//! Which pages there are, and what is on them, is the screens' business.

mod html;

use std::cell::{Cell, RefCell};

use exports::site::shop::layout::{Guest, GuestPage, Link, Section};

wit_bindgen::generate!({
    path: ["../../../../wit/page.wit", "../../wit"],
    world: "site:shop/layout-frame",
    generate_all,
});

const VERSION: &str = "1.0.0";
const ACCENT: &str = "#a8481f";

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Frame;

impl Guest for Frame {
    type Page = Page;

    fn version() -> String {
        VERSION.into()
    }

    fn calls() -> u64 {
        CALLS.get()
    }
}

#[derive(Default)]
struct Page {
    title: String,
    menu: RefCell<Vec<Link>>,
    sections: RefCell<Vec<Section>>,
    parts: RefCell<Vec<Part>>,
}

/// A component that took part in the page.
struct Part {
    component: String,
    version: String,
    calls: u64,
}

impl GuestPage for Page {
    fn new(title: String) -> Self {
        Self {
            title,
            ..Self::default()
        }
    }

    fn set_menu(&self, links: Vec<Link>) {
        self.menu.replace(links);
    }

    fn add_section(&self, section: Section) {
        self.sections.borrow_mut().push(section);
    }

    fn add_part(&self, component: String, version: String, calls: u64) {
        self.parts.borrow_mut().push(Part {
            component,
            version,
            calls,
        });
    }

    fn render(&self) -> String {
        CALLS.set(CALLS.get() + 1);
        let frame = Part {
            component: "shop.layout.frame".into(),
            version: VERSION.into(),
            calls: CALLS.get(),
        };
        let parts = self.parts.borrow();
        let parts = std::iter::once(&frame).chain(parts.iter());
        html::page(
            ACCENT,
            &self.title,
            &self.menu.borrow(),
            &self.sections.borrow(),
            parts,
        )
    }
}

export!(Frame);
