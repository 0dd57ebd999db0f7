//! What a trait only declares does nothing yet.

use txsafe_diesel::guard::external_io;

trait Mail {
    #[external_io("mail.send")]
    async fn send(&self, to: &str);
}

fn main() {}
