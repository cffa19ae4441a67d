use std::fmt;
use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use zeroize::Zeroizing;

use super::Error;

/// Who we are, and whom we trust, in PEM. The same for a server and for a caller.
#[derive(Clone, Default)]
pub struct Tls {
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    authority: Option<Vec<u8>>,
}

impl Tls {
    /// Shows this certificate, with its chain. A server must; a caller does where the server asks.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), Zeroizing::new(key.into())));
        self
    }

    /// Trusts only what this authority has signed. A server with it takes only callers that show a certificate; a caller must have it.
    #[must_use]
    pub fn authority(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(certificate.into());
        self
    }

    /// Reads an identity from two files.
    pub fn read_identity(self, certificate: &Path, key: &Path) -> Result<Self, Error> {
        Ok(self.identity(read(certificate)?, read(key)?))
    }

    /// Reads the authority from a file.
    pub fn read_authority(self, certificate: &Path) -> Result<Self, Error> {
        Ok(self.authority(read(certificate)?))
    }

    pub(super) fn server(&self) -> Result<ServerTlsConfig, Error> {
        let config = ServerTlsConfig::new().identity(self.pem_identity().ok_or(Error::NoIdentity)?);
        Ok(match &self.authority {
            Some(authority) => config.client_ca_root(Certificate::from_pem(authority)),
            None => config,
        })
    }

    /// None if there is nobody to trust.
    pub(super) fn client(&self) -> Option<ClientTlsConfig> {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.authority.as_ref()?));
        Some(match self.pem_identity() {
            Some(identity) => config.identity(identity),
            None => config,
        })
    }

    fn pem_identity(&self) -> Option<Identity> {
        self.identity.as_ref().map(|(certificate, key)| Identity::from_pem(certificate, key))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, authority) = (self.identity.is_some(), self.authority.is_some());
        f.debug_struct("Tls").field("identity", &identity).field("authority", &authority).finish_non_exhaustive()
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| Error::Read { file: file.display().to_string(), error })
}
