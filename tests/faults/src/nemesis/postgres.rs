use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use testkit::{TempDir, within};

/// After a crash it reads what it wrote before it serves; for a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What its disk holds, where that is ours to say.
const DISK: &str = "size=1g";

/// What it is started, filled, copied and restored with.
const PROGRAMS: [&str; 7] = ["initdb", "postgres", "psql", "createdb", "dropdb", "pg_dump", "pg_restore"];

/// The tables of the payment provider. They are part of the world, and no copy of billing's database brings them back.
const PROVIDER: &str = "simulated_*";

/// A Postgres of our own, on loopback, that may be killed and restored. Its databases are gone with the value.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    child: Option<Child>,
    port: u16,
    disk: Disk,
}

/// Where its data are.
#[derive(Debug)]
struct Disk {
    folder: TempDir,
    /// It is a file system of a size of its own.
    small: bool,
}

impl Postgres {
    /// Starts it with an empty database for each of these names.
    pub async fn start(databases: &[String]) -> Self {
        let programs = programs().expect("no initdb on PATH or in /usr/lib/postgresql: install PostgreSQL");
        let disk = Disk::prepare();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut this = Self { programs, child: None, port, disk };
        this.run(
            "initdb",
            &["-D", &this.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        );
        this.restart().await;
        for database in databases {
            this.run_at("createdb", &["-T", "template0", database]);
        }
        this
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether its disk can be filled without harm to anybody else.
    pub const fn has_a_small_disk(&self) -> bool {
        self.disk.small
    }

    /// Starts it on what it has written, unless it runs.
    pub async fn restart(&mut self) {
        within(PATIENCE, "Postgres serves", async || {
            let runs = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none());
            if !runs {
                self.child = Some(self.spawn());
            }
            let asked = self.at("psql", &["-d", "postgres", "-c", "select 1"]).output();
            asked.is_ok_and(|output| output.status.success())
        })
        .await;
    }

    /// Kills it and all that it has begun, as a crash does.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let begun = children_of(child.id());
        let _ = child.kill();
        for pid in begun.into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended with its parent.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = child.wait();
    }

    /// A copy of a database as it is now, but for the provider's books.
    pub fn copy(&self, database: &str) -> PathBuf {
        let file = self.disk.folder.path().join(format!("{database}.copy"));
        self.run_at("pg_dump", &["-Fc", "-T", PROVIDER, "-f", &text(&file), database]);
        file
    }

    /// Puts a copy in the place of a database. What the provider knows stays as it is.
    pub fn restore(&self, database: &str, copy: &Path) {
        let books = self.disk.folder.path().join(format!("{database}.books"));
        let has_books = !self
            .run_at("psql", &["-d", database, "-Atc", "select 1 from pg_tables where tablename like 'simulated%'"])
            .stdout
            .is_empty();
        if has_books {
            self.run_at("pg_dump", &["-Fc", "-t", PROVIDER, "-f", &text(&books), database]);
        }
        self.run_at("dropdb", &["--force", database]);
        self.run_at("createdb", &["-T", "template0", database]);
        self.run_at("pg_restore", &["-d", database, &text(copy)]);
        if has_books {
            self.run_at("pg_restore", &["-d", database, &text(&books)]);
        }
    }

    /// Writes until nothing fits on its disk any more.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).unwrap();
        let zeros = vec![0; 1 << 20];
        while std::io::Write::write_all(&mut filler, &zeros).is_ok() {}
    }

    pub fn empty(&self) {
        let _ = fs::remove_file(self.filler());
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.disk.folder.path().join("log")).unwrap_or_default()
    }

    fn filler(&self) -> PathBuf {
        self.disk.folder.path().join("filler")
    }

    fn data(&self) -> String {
        text(&self.disk.folder.path().join("data"))
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.disk.folder.path().join("log")).unwrap();
        let mut command = self.program("postgres");
        command.args(["-D", &self.data(), "-p", &self.port.to_string()]);
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=500", "max_wal_size=256MB"]
        {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// One of its programs, as a user that it accepts.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = match user() {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.disk.folder.path());
        command
    }

    /// One of its programs that calls the server.
    fn at(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.program(name);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]).args(arguments);
        command
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Output {
        succeed(self.program(name).args(arguments))
    }

    fn run_at(&self, name: &str, arguments: &[&str]) -> Output {
        succeed(&mut self.at(name, arguments))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Disk {
    fn prepare() -> Self {
        // Another user must be able to enter it, which the folder of root's own temporary files may not let them.
        let folder = if geteuid().is_root() {
            TempDir::with_prefix_in("millrace-nemesis-", "/tmp")
        } else {
            Ok(testkit::folder())
        };
        let folder = folder.unwrap();
        let path = text(folder.path());
        let mounted = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let small =
            geteuid().is_root() && mounted(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "millrace", &path]));
        if let Some(user) = user() {
            succeed(Command::new("chown").args([&user, &path]));
        }
        Self { folder, small }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.small {
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

/// Whom it runs as, if not as us: it refuses root.
fn user() -> Option<String> {
    let exists = |name: &&str| Command::new("id").arg(name).output().is_ok_and(|output| output.status.success());
    let users = ["postgres", "nobody"];
    geteuid().is_root().then(|| users.into_iter().find(exists).expect("a user that is not root").to_owned())
}

/// The folder that holds them: on PATH, or the newest in Debian's place.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    let mut installed: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    installed
        .sort_by_key(|entry| std::cmp::Reverse(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())));
    folders.extend(installed.into_iter().map(|entry| entry.path().join("bin")));
    folders.into_iter().find(|folder| PROGRAMS.iter().all(|program| folder.join(program).exists()))
}

fn children_of(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(path: &Path) -> String {
    path.to_str().expect("our own folders have plain names").to_owned()
}
