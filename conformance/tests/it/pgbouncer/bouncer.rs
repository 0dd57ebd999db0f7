//! A PgBouncer of our own, in transaction mode.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A PgBouncer that ends with its owner.
pub(crate) struct Bouncer {
    port: u16,
    home: PathBuf,
    child: Child,
}

impl Bouncer {
    /// Starts one in front of the server on this port.
    pub(crate) fn start(server: u16) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = env::temp_dir().join(format!("txsafe-pgbouncer-{port}"));
        fs::create_dir(&home).unwrap();
        let (settings, users) = (home.join("pgbouncer.ini"), home.join("users.txt"));
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]
             postgres = host=127.0.0.1 port={server} dbname=postgres
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = trust
             auth_file = {}
             pool_mode = transaction
             default_pool_size = 2
             ignore_startup_parameters = options, extra_float_digits
             admin_users = postgres
            ",
            users.display()
        );
        fs::write(&settings, text.replace("             ", "")).unwrap();
        Self { port, child: spawn(&settings), home }
    }

    /// Where to connect, with this name for the application.
    pub(crate) fn url(&self, application_name: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?application_name={application_name}&sslmode=disable",
            self.port
        )
    }

    /// What a connection of somebody else's sees.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let (client, connection) =
            tokio_postgres::connect(&self.url("somebody"), NoTls).await.unwrap();
        tokio::spawn(connection);
        let answer = client.simple_query(sql).await.unwrap();
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap_or_default().to_owned()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It may have ended already, and what is left behind in the folder for temporary files hurts nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Like PostgreSQL, PgBouncer refuses to run as root, but can change to somebody else.
fn spawn(settings: &Path) -> Child {
    let program = ["/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"];
    let program = program.into_iter().find(|path| Path::new(path).is_file());
    let mut command = Command::new(program.unwrap_or("pgbouncer"));
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        command.args(["-u", "postgres"]);
    }
    command.arg("-q").arg(settings).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("pgbouncer can't be started ({error}): run `cargo xtask setup`"),
    }
}
