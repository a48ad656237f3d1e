//! What the linker makes of random groups: the edges are those of a simple model, the engine accepts
//! what comes out, and the answers do not depend on how far components were taken apart.
//!
//! Each property runs for about a second; `ARBTEST_BUDGET_MS=600000` makes each run for ten minutes. A
//! failure prints its seed, which `ARBTEST_SEED` repeats.

mod abi;
mod generate;
pub mod group;
mod model;
mod smith;
mod wat;

use std::collections::BTreeMap;

use arbtest::{arbitrary, arbtest};
use wasmhost::{
    artifact::{Effort, Splitting},
    project::Instances,
};

use self::{
    generate::Group,
    group::{Running, Workshop, discovered, group},
};
use crate::support::example;

const SPLITTINGS: [Splitting; 3] = [Splitting::Apart, Splitting::Split, Splitting::Whole];

/// Repeats a property for a while, or for as long as the environment says.
#[expect(
    clippy::print_stderr,
    reason = "how much was tried; shown where a test fails or is asked to talk"
)]
pub fn repeat(
    milliseconds: u64,
    mut property: impl FnMut(&mut arbitrary::Unstructured<'_>) -> arbitrary::Result<()>,
) {
    let mut cases = 0;
    let test = arbtest(|u| {
        cases += 1;
        property(u)
    });
    let test = test.size_min(2 << 10).size_max(16 << 10);
    match std::env::var_os("ARBTEST_BUDGET_MS") {
        Some(_) => test.run(),
        None => test.budget_ms(milliseconds).run(),
    }
    eprintln!("{cases} cases");
}

#[test]
fn random_groups_answer_the_same_however_they_are_linked() {
    let workshops = SPLITTINGS.map(Workshop::new);
    repeat(4000, |u| {
        let generated = generate::group(u)?;
        let mut spec = group(&binaries(&generated));
        spec.instances = *u.choose(&[
            Instances::Shared,
            Instances::Shared,
            Instances::Pool(2),
            Instances::Isolated,
        ])?;
        let answers = workshops.each_ref().map(|workshop| {
            let (running, _) = workshop.start(&spec);
            answers(&running, "shop.page")
        });
        let [apart, split, whole] = answers;
        assert!(
            apart == whole && split == whole,
            "{apart:?} {split:?} {whole:?}\n{}",
            text(&generated)
        );
        Ok(())
    });
}

#[test]
fn a_change_of_data_alone_compiles_no_function() {
    let workshop = Workshop::new(Splitting::Apart);
    repeat(2000, |u| {
        let mut generated = generate::group(u)?;
        let (before, _) = workshop.start(&group(&binaries(&generated)));
        let before = (answers(&before, "shop.page"), before);

        let changed = u.choose_index(generated.components.len())?;
        let component = &mut generated.components[changed];
        component.seed = !component.seed;
        let apart = component.shape.is_apart() && !component.wrapped;
        let (after, cost) = workshop.start(&group(&binaries(&generated)));
        let Effort {
            functions_compiled,
            modules_reused,
            ..
        } = cost.effort;
        if apart {
            assert_eq!(functions_compiled, 0, "{}", text(&generated));
            assert!(modules_reused > 0);
        }
        let after = answers(&after, "shop.page");
        let is_page = changed + 1 == generated.components.len();
        assert!(
            !is_page || before.0 != after,
            "the page has new data: {}",
            text(&generated)
        );
        Ok(())
    });
}

#[test]
fn the_example_site_answers_the_same_however_it_is_linked() {
    let pages = [
        ("shop.screen.home", "/"),
        ("shop.screen.item", "/items/mug"),
        ("shop.screen.cart", "/cart"),
        ("shop.screen.home", "/"),
    ];
    let echo = [
        ("api.echo", "/api/count"),
        ("api.echo", "/api/echo/x?y=z"),
        ("api.echo", "/api/count"),
    ];
    for (name, requests) in [("shop", pages.as_slice()), ("api", &echo)] {
        let spec = discovered(example(), name);
        let [apart, split, whole] = SPLITTINGS.map(|splitting| {
            let (running, _) = Workshop::new(splitting).start(&spec);
            let answers = requests.iter().map(|(component, path)| {
                let (status, body) = running.get_with(component, path, &[("id", "mug")]).unwrap();
                (status, String::from_utf8(body).unwrap())
            });
            answers.collect::<Vec<_>>()
        });
        assert!(
            whole
                .iter()
                .all(|(status, body)| *status == 200 && !body.is_empty()),
            "{whole:?}"
        );
        assert_eq!(apart, whole);
        assert_eq!(split, whole);
    }
}

/// What a page says when it is asked several times: later answers depend on earlier ones.
fn answers(running: &Running, page: &str) -> Vec<Result<(u16, Vec<u8>), String>> {
    ["/", "/a", "/a"].map(|path| running.get(page, path)).into()
}

fn binaries(generated: &Group) -> BTreeMap<String, Vec<u8>> {
    let components = generated.components.iter();
    let binary = |component: &generate::Component| {
        let text = wat::component(generated, component);
        wat_binary(&text)
    };
    components
        .map(|component| (component.id.clone(), binary(component)))
        .collect()
}

fn wat_binary(text: &str) -> Vec<u8> {
    ::wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn text(generated: &Group) -> String {
    let components = generated.components.iter();
    let text = |component: &generate::Component| {
        format!(
            ";; {} {:?}\n{}\n",
            component.id,
            component.shape,
            wat::component(generated, component)
        )
    };
    components.map(text).collect()
}
