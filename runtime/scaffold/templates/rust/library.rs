//! The library {{id}}: other components import `site:{{package}}/api`.

use exports::site::{{module}}::api::Guest;

wit_bindgen::generate!({ path: "wit", generate_all });

struct Library;

impl Guest for Library {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }
}

export!(Library);

#[test]
fn it_greets_by_name() {
    assert_eq!(Library::greet("Ada".into()), "Hello, Ada!");
}
