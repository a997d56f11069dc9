//! A server that is measured.

use postgres::{Client, Config, NoTls};

use crate::Outcome;

pub struct Server {
    /// A superuser's, over a unix socket or to this machine: its processes' counters are read from
    /// `/proc`.
    pub url: String,
    /// Schema of the extension; `None`: where it is by default.
    pub schema: Option<String>,
}

impl Server {
    /// Settings of its sessions, as libpq takes them.
    pub fn options(&self) -> String {
        self.schema.as_ref().map_or_else(String::new, |schema| {
            // In the form that both the option's parser and the server read as one name.
            let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
            let escaped = quoted.replace('\\', "\\\\").replace(' ', "\\ ");
            format!("-csearch_path={escaped},public")
        })
    }

    pub fn connect(&self) -> Outcome<Client> {
        let mut config: Config = self.url.parse()?;
        if self.schema.is_some() {
            config.options(&self.options());
        }
        Ok(config.connect(NoTls)?)
    }
}
