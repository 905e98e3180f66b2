//! A real browser: headless Chromium under chromedriver (WebDriver, <https://www.w3.org/TR/webdriver2/>), one of its own per test, with an
//! empty profile that vanishes with it.
//!
//! A test looks at the page as its users do: what stands in it, what the keys do. What the console says is kept, and a page that
//! complained there, or broke its own policy, fails its test.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    BrowserLogEntry, Capabilities, ChromiumLikeCapabilities as _, DesiredCapabilities, Key,
    LoggingPrefsLogLevel, WebDriver, WebDriverBuilder,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    binary::required_program,
    need::Need,
    process::{Process, lines},
    wait::eventually,
};

/// What a test with a browser needs.
pub const NEEDS: [Need; 2] = [Need::Program("chromium"), Need::Program("chromedriver")];

/// Without a window, without a sandbox of its own (tests run as root), and without a word to anybody but the page's server.
const ARGUMENTS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=1280,900",
];

/// A desktop's and a phone's page, in CSS pixels.
pub const DESKTOP: (u32, u32) = (1280, 900);
/// The narrowest that a page must fit without being scrolled sideways (WCAG 2.2, 1.4.10).
pub const PHONE: (u32, u32) = (320, 640);

/// A browser with one page.
pub struct Browser {
    runtime: Runtime,
    driver: Option<WebDriver>,
    process: Process,
    expected: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime for WebDriver");
        let profile =
            tempfile::Builder::new().prefix("secmon-browser-").tempdir().expect("a temporary folder");
        let process = Process::spawn("chromedriver", &mut driver());
        let port = process.wait_until("chromedriver to listen", |output| {
            let told = |line: &str| line.split_once(" on port ")?.1.trim_end_matches('.').parse::<u16>().ok();
            lines(&output.stdout).find_map(told)
        });
        let address = format!("http://127.0.0.1:{port}");
        let driver = runtime.block_on(async {
            let made: WebDriverBuilder = WebDriver::builder(address, capabilities(profile.path()));
            made.await.expect("chromium starts")
        });
        let browser = Self { runtime, driver: Some(driver), process, expected: vec![], _profile: profile };
        browser.size(DESKTOP);
        browser
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("it is there until it is dropped")
    }

    /// Asks the devtools (<https://chromedevtools.github.io/devtools-protocol/>).
    ///
    /// # Panics
    /// When they refuse.
    #[track_caller]
    pub fn devtools(&self, command: &str, arguments: Value) -> Value {
        self.runtime
            .block_on(self.driver().cdp().send_raw(command, arguments))
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Makes the page that wide and high.
    #[track_caller]
    pub fn size(&self, (width, height): (u32, u32)) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What the system would ask of pages: `light` or `dark`.
    #[track_caller]
    pub fn colours(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// Goes to an address.
    ///
    /// # Panics
    /// When it cannot be loaded.
    #[track_caller]
    pub fn open(&self, address: &str) {
        self.runtime
            .block_on(self.driver().goto(address))
            .unwrap_or_else(|error| panic!("{address}: {error}"));
    }

    /// What a script returns, which is the body of a function and is given `arguments`.
    ///
    /// # Panics
    /// When it throws.
    #[track_caller]
    pub fn ask(&self, script: &str, arguments: &[Value]) -> Value {
        let asked = self.driver().execute(script, arguments.to_vec());
        let answer = self.runtime.block_on(asked).unwrap_or_else(|error| panic!("{script}: {error}"));
        answer.json().clone()
    }

    /// Waits until a script returns something else than `null`, `false` or an empty text, and returns it.
    ///
    /// # Panics
    /// When it does not in time; the message has the text of the page.
    #[track_caller]
    pub fn wait(&self, what: &str, script: &str) -> Value {
        let look = || {
            let found = self.ask(script, &[]);
            (!matches!(&found, Value::Null | Value::Bool(false)) && found != "").then_some(found)
        };
        let found = crate::wait::within(crate::wait::DEADLINE, look);
        found.unwrap_or_else(|| panic!("waited in vain for {what}; the page says:\n{}", self.text()))
    }

    /// Waits until a text stands in what a selector finds.
    ///
    /// # Panics
    /// As [`Browser::wait`].
    #[track_caller]
    pub fn wait_for_text(&self, selector: &str, text: &str) {
        let (quoted, wanted) = (json!(selector), json!(text));
        let script = format!(
            "return [...document.querySelectorAll({quoted})].some((e) => e.innerText.includes({wanted}))"
        );
        self.wait(&format!("{text:?} in {selector}"), &script);
    }

    /// Waits for an element, and returns how many there are.
    ///
    /// # Panics
    /// As [`Browser::wait`].
    #[track_caller]
    pub fn wait_for(&self, selector: &str) -> u64 {
        let script = format!("return document.querySelectorAll({}).length || null", json!(selector));
        self.wait(selector, &script).as_u64().unwrap_or_default()
    }

    /// Clicks what a selector finds, of several the first whose text contains `text`.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub fn click(&self, selector: &str, text: &str) {
        let (quoted, wanted) = (json!(selector), json!(text));
        let script = format!(
            "const found = [...document.querySelectorAll({quoted})].find((e) => e.innerText.includes({wanted}) && !e.disabled); \
             found?.click(); return Boolean(found)"
        );
        self.wait(&format!("{selector} with {text:?}, to click it"), &script);
    }

    /// Presses keys one by one, wherever the focus is.
    ///
    /// # Panics
    /// When they cannot be pressed.
    #[track_caller]
    pub fn keys(&self, keys: &[Key]) {
        for key in keys {
            let chain = self.driver().action_chain().send_keys(key.clone());
            self.runtime.block_on(chain.perform()).expect("a key can be pressed");
        }
    }

    /// Types a text, wherever the focus is.
    ///
    /// # Panics
    /// When it cannot be typed.
    #[track_caller]
    pub fn write(&self, text: &str) {
        let chain = self.driver().action_chain().send_keys(text);
        self.runtime.block_on(chain.perform()).expect("a text can be typed");
    }

    /// Presses Tab until the focus is on what a selector finds and a text is in.
    ///
    /// # Panics
    /// When it never gets there.
    #[track_caller]
    pub fn tab_to(&self, selector: &str, text: &str) {
        let script = "const at = document.activeElement; return at.matches(arguments[0]) && at.innerText.includes(arguments[1])";
        for _ in 0..MAX_TABS {
            if self.ask(script, &[json!(selector), json!(text)]) == true {
                return;
            }
            self.keys(&[Key::Tab]);
        }
        panic!("Tab never leads to {selector} with {text:?}; the page says:\n{}", self.text());
    }

    /// The text of the page, as far as it is seen.
    #[track_caller]
    pub fn text(&self) -> String {
        self.ask("return document.body.innerText", &[]).as_str().unwrap_or_default().to_owned()
    }

    /// Writes what is seen into a PNG file; for people who mend a test.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn picture(&self, file: &Path) {
        self.runtime.block_on(self.driver().screenshot(file)).expect("a picture can be taken");
    }

    /// A part of what the console may say in this test: an answer that is no success is told there by the browser itself.
    pub fn expect(&mut self, part: &str) {
        self.expected.push(part.to_owned());
    }

    /// What the console said, without what was expected. It is said once.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let said = self.runtime.block_on(self.driver().handle().browser_log());
        let said = said.unwrap_or_else(|error| panic!("the console is not kept: {error}"));
        let grave = said
            .into_iter()
            .filter(|entry: &BrowserLogEntry| matches!(entry.level.as_str(), "SEVERE" | "WARNING"));
        grave
            .map(|entry| entry.message)
            .filter(|message| !self.expected.iter().any(|part| message.contains(part.as_str())))
            .collect()
    }

    /// Fails when the console said anything that was not expected, an offence against the policy among it.
    ///
    /// # Panics
    /// Then.
    #[track_caller]
    pub fn assert_no_complaints(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the console says: {complaints:#?}");
    }
}

/// No page of ours has so many stops.
const MAX_TABS: usize = 150;

/// As root in a process namespace of its own: whatever Chromium starts dies with it, also when a test is killed.
fn driver() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    if Need::Namespaces.lacking().is_none() {
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    }
    command.arg(required_program("chromedriver")).arg("--port=0");
    // A proxy of this machine is none of the page's business.
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    command
}

fn capabilities(profile: &Path) -> Capabilities {
    let mut chrome = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", profile.display());
    for argument in ARGUMENTS.into_iter().chain([profile.as_str()]) {
        chrome.add_arg(argument).expect("an argument is a text");
    }
    chrome.set_logging_prefs("browser", LoggingPrefsLogLevel::All).expect("a level is a text");
    chrome.into()
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(said) = self.runtime.block_on(self.driver().handle().browser_log())
        {
            for entry in said {
                eprintln!("=== the console: {} {}", entry.level, entry.message);
            }
        }
        if let Some(driver) = self.driver.take() {
            // It is killed below in any case.
            let _ = self.runtime.block_on(driver.quit());
        }
        self.process.signal(nix::sys::signal::Signal::SIGKILL);
        eventually("the browser's end", || (!self.process.is_running()).then_some(()));
    }
}
