//! A real Chromium, driven by WebDriver: the protocol is JSON over HTTP, which the tests' client speaks.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Client, Tool};

/// How long a page may take to show what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended with the value, its driver with it.
pub struct Browser {
    driver: Child,
    /// `http://127.0.0.1:9515`
    url: String,
    session: String,
}

impl Browser {
    /// `None`, and loudly so, on a machine without it. In CI that is a failure.
    pub fn start() -> Option<Self> {
        Tool::new("chromium")?;
        Tool::new("chromedriver")?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let started = "was started successfully on port ";
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once(started)?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let mut browser = Self {
            driver,
            url: format!("http://127.0.0.1:{}", port.expect("chromedriver tells its port")),
            session: String::new(),
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = browser.command("POST", "/session", &wanted);
        let id = session["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("/session/{id}");
        Some(browser)
    }

    /// What the driver says to a command.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        let body = match method {
            "POST" => body.to_string(),
            _ => String::new(),
        };
        let headers = [("content-type", "application/json")];
        let reply = Client::new(&self.url).request(method, &path, &headers, body.as_bytes());
        let mut answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{method} {path} {body}: {answer}");
        answer["value"].take()
    }

    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// What a function's body returns in the page.
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    pub fn wait(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return !!({expression})")) != true {
            assert!(
                Instant::now() < deadline,
                "never true: {expression}\n{}\n{:?}",
                self.run("return document.body.innerText"),
                self.console()
            );
        }
    }

    /// Waits until an element shows this text.
    pub fn wait_text(&self, selector: &str, text: &str) {
        self.wait(&format!(
            "[...document.querySelectorAll({selector:?})].some((one) => one.innerText.includes({text:?}))"
        ));
    }

    pub fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({selector:?}).innerText"));
        text.as_str().unwrap().to_owned()
    }

    /// As a person would: it has to be in sight.
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into an element.
    pub fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.command(
            "POST",
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    fn find(&self, selector: &str) -> String {
        let using = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &using);
        let id = found.as_object().unwrap().values().next().unwrap();
        id.as_str().unwrap().to_owned()
    }

    /// What an expression comes to in the page; nothing while it is being loaded.
    pub fn eval(&self, expression: &str) -> Value {
        self.run(&format!(
            "try {{ return ({expression}); }} catch {{ return null; }}"
        ))
    }

    /// Waits until an expression comes to this in the page.
    pub fn wait_for(&self, expression: &str, expected: impl Into<Value>) {
        let expected: Value = expected.into();
        self.wait(&format!(
            "(() => {{ try {{ return ({expression}) === {expected}; }} catch {{ return false; }} }})()"
        ));
    }

    /// Opens a page in another tab, and goes on there.
    pub fn open_tab(&self, url: &str) {
        let tab = self.command("POST", "/window/new", &json!({ "type": "tab" }));
        self.go_to(tab["handle"].as_str().unwrap());
        self.open(url);
    }

    pub fn tabs(&self) -> Vec<String> {
        let tabs = self.command("GET", "/window/handles", &Value::Null);
        serde_json::from_value(tabs).unwrap()
    }

    pub fn go_to(&self, tab: &str) {
        self.command("POST", "/window", &json!({ "handle": tab }));
    }

    /// Shows the page on a screen of this size, as a phone does or not.
    pub fn resize(&self, width: u32, height: u32, mobile: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command("POST", "/goog/cdp/execute", &command);
    }

    /// Puts a picture of what is seen into `target/tmp/NAME.png`.
    pub fn screenshot(&self, name: &str) {
        let picture = self.command("GET", "/screenshot", &Value::Null);
        let picture = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        fs::write(
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png")),
            picture,
        )
        .unwrap();
    }

    /// What went wrong in the page since this was asked last: errors, and what its policy forbade.
    pub fn console(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser goes with its session; a test that fails must not fail again here.
        if !std::thread::panicking() {
            self.command("DELETE", "", &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
