//! Runs the programs of a page: Python with psycopg, JavaScript with node-postgres, Java with JDBC.

use crate::compare::fits;
use crate::page::Page;
use crate::run::Host;
use postgres::config::Host as Address;
use std::io::copy;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `ci/docs clients` has put what the programs need, and where they are written: node looks for modules beside
/// the program.
const DIRECTORY: &str = "PGB_CLIENTS_DIRECTORY";

/// How the programs of a language are run.
struct Runtime {
    language: &'static str,
    file: &'static str,
    command: &'static [&'static str],
    /// Put around the code.
    around: (&'static str, &'static str),
}

const RUNTIMES: [Runtime; 3] = [
    Runtime {
        language: "python",
        file: "page.py",
        command: &["./python"],
        around: ("", ""),
    },
    Runtime {
        language: "js",
        file: "page.mjs",
        command: &["node"],
        around: ("", ""),
    },
    Runtime {
        language: "java",
        file: "Page.java",
        command: &["java", "-cp", "/usr/share/java/postgresql.jar"],
        around: (
            "import java.sql.*;\npublic class Page { public static void main(String[] none) throws Exception {\n",
            "}}\n",
        ),
    },
];

/// Accepts connections for the server's socket: JDBC knows no other than TCP, and the server has no port.
fn listen(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if let Ok(server) = UnixStream::connect(&socket) {
                join(client, server);
            }
        }
    });
    port
}

fn join(client: TcpStream, server: UnixStream) {
    let to = (client.try_clone(), server.try_clone());
    if let (Ok(mut from_client), Ok(mut to_server)) = to {
        std::thread::spawn(move || copy(&mut from_client, &mut to_server));
    }
    let (mut from_server, mut to_client) = (server, client);
    std::thread::spawn(move || copy(&mut from_server, &mut to_client));
}

/// What is wrong with the programs of a page.
///
/// # Panics
/// When one cannot be started.
pub fn run(host: &Host, page: &Page) -> Vec<String> {
    let directory = std::env::var(DIRECTORY).expect("`ci/docs clients` runs these tests");
    let directory = Path::new(&directory);
    let config = host.server().config();
    let [Address::Unix(socket)] = config.get_hosts() else {
        panic!("a throw-away server has a unix socket");
    };
    let number = config.get_ports().first().copied().unwrap_or(5432);
    let port = listen(socket.join(format!(".s.PGSQL.{number}")));
    let mut faults = Vec::new();
    for runtime in RUNTIMES {
        let pieces = || {
            let pieces = page.programs.iter();
            pieces.filter(|program| program.language == runtime.language)
        };
        if pieces().next().is_none() {
            continue;
        }
        let home = host.home(false);
        let code: String = pieces().map(|program| program.code.as_str()).collect();
        let shown: String = pieces().map(|program| program.output.as_str()).collect();
        let code = code
            .replace(
                "//localhost/app",
                &format!("//127.0.0.1:{port}/{}", home.database),
            )
            .replace("dbname=app", &format!("dbname={}", home.database))
            .replace("database: 'app'", &format!("database: '{}'", home.database));
        let (before, after) = runtime.around;
        std::fs::write(
            directory.join(runtime.file),
            format!("{before}{code}{after}"),
        )
        .expect("the program can be written");
        let output = Command::new(runtime.command[0])
            .args(&runtime.command[1..])
            .arg(runtime.file)
            .current_dir(directory)
            .env("PGHOST", socket)
            .env("PGPORT", number.to_string())
            .env("PGUSER", "app")
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", runtime.command[0]));
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !fits(&shown, &printed) {
            let complaints = String::from_utf8_lossy(&output.stderr);
            let language = runtime.language;
            faults.push(format!("{language}: {printed}\n{complaints}"));
        }
        drop(home);
    }
    faults
}
