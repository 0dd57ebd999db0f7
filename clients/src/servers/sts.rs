//! AWS's Security Token Service: knows one caller.

use std::io;

use super::http;
use crate::plain::Server;

const CALLER: &str = "\
<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
  <GetCallerIdentityResult>
    <Arn>arn:aws:iam::123456789012:user/alice</Arn>
    <UserId>AIDACKCEVSQ6C2EXAMPLE</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>";

/// Starts one.
///
/// # Errors
///
/// As [`Server::start`].
pub fn start() -> io::Result<Server> {
    http::start(CALLER)
}
