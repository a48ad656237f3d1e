//! A real Chromium, driven over WebDriver; its screenshots are left for people in Cargo's folder for tests.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, wd::WindowHandle};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{PATIENCE, skipped};

/// Ended with the value.
pub struct Browser {
    client: Client,
    runtime: Runtime,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// `None`, and loudly so, on a machine without Chromium and its driver. In CI that is a failure.
    pub fn start() -> Option<Self> {
        let spawned = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = spawned else {
            skipped("browser", "there is no chromedriver (Debian: chromium-driver)");
            return None;
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // Whatever else it says is read, or it would wait to be heard.
        std::thread::spawn(move || said.for_each(drop));
        let port = port.expect("the driver tells its port");
        let profile = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let options = json!({ "goog:chromeOptions": { "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--window-size=1000,700", format!("--user-data-dir={}", profile.path().display()),
        ]}});
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(options.as_object().unwrap().clone());
        let driver_url = format!("http://127.0.0.1:{port}");
        let connecting = builder.connect(&driver_url);
        let client = runtime.block_on(connecting).expect("Chromium starts");
        Some(Self {
            client,
            runtime,
            driver,
            _profile: profile,
        })
    }

    pub fn open(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap();
    }

    /// Opens a page in another tab, and goes on there.
    pub fn open_tab(&self, url: &str) {
        let tab = self.runtime.block_on(self.client.new_window(true)).unwrap();
        self.go_to(
            &self
                .tabs()
                .into_iter()
                .find(|other| *other == tab.handle)
                .unwrap(),
        );
        self.open(url);
    }

    pub fn tabs(&self) -> Vec<WindowHandle> {
        self.runtime.block_on(self.client.windows()).unwrap()
    }

    pub fn go_to(&self, tab: &WindowHandle) {
        let switched = self.client.switch_to_window(tab.clone());
        self.runtime.block_on(switched).unwrap();
    }

    fn find(&self, selector: &str) -> Element {
        self.runtime
            .block_on(self.client.find(Locator::Css(selector)))
            .unwrap()
    }

    pub fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.runtime.block_on(element.send_keys(text)).unwrap();
    }

    /// What a script comes to. A page that is just being loaded has nothing to say.
    pub fn eval(&self, script: &str) -> Value {
        let script = format!("return ({script});");
        let evaluated = self.runtime.block_on(self.client.execute(&script, vec![]));
        evaluated.unwrap_or(Value::Null)
    }

    /// Waits until a script comes to `expected`, and tells how long that took.
    pub fn wait_for(&self, script: &str, expected: impl Into<Value>) -> Duration {
        let (expected, began) = (expected.into(), Instant::now());
        loop {
            let found = self.eval(script);
            if found == expected {
                return began.elapsed();
            }
            if began.elapsed() > PATIENCE {
                let shown = self.eval("document.documentElement.outerHTML");
                panic!("{script} is {found}, and never {expected}; the page is {shown}");
            }
            // The driver answers when the browser has: no faster than the page itself.
        }
    }

    pub fn screenshot(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        fs::create_dir_all(&folder).unwrap();
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium goes with its session.
        let _ = self.runtime.block_on(self.client.clone().close());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
