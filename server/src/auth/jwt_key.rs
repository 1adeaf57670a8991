//! The keys that JSON web tokens are signed and checked with, from the operator's files.

use crate::config::JwtOptions;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A key for tokens that cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("--auth-token: cannot read the key {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("--auth-token: the key {path} cannot be used for {method}: {what}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The algorithm.
        method: String,
        /// Why not, and what is needed.
        what: String,
    },
    /// The algorithm is not known, or has no key.
    #[error("--auth-token: {what}")]
    Setting {
        /// What is wrong.
        what: String,
    },
    /// The two keys do not belong together.
    #[error("--auth-token: pub-key is not the public key of priv-key")]
    Mismatch,
}

/// A key, for signing too if it is the private one.
pub struct JwtKey {
    signing: Option<Signing>,
    checking: Checking,
}

enum Signing {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

enum Checking {
    Hmac(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
}

/// An algorithm, by its name in tokens.
#[derive(Clone, Copy)]
enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm),
    Ecdsa(&'static EcdsaSigningAlgorithm, &'static dyn VerificationAlgorithm),
    Ed,
}

impl Method {
    fn named(name: &str) -> Result<Self, KeyError> {
        use signature as s;
        Ok(match name {
            "HS256" => Self::Hmac(hmac::HMAC_SHA256),
            "HS384" => Self::Hmac(hmac::HMAC_SHA384),
            "HS512" => Self::Hmac(hmac::HMAC_SHA512),
            "RS256" => Self::Rsa(&s::RSA_PKCS1_SHA256, &s::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&s::RSA_PKCS1_SHA384, &s::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&s::RSA_PKCS1_SHA512, &s::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&s::RSA_PSS_SHA256, &s::RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&s::RSA_PSS_SHA384, &s::RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&s::RSA_PSS_SHA512, &s::RSA_PSS_2048_8192_SHA512),
            "ES256" => Self::Ecdsa(&s::ECDSA_P256_SHA256_FIXED_SIGNING, &s::ECDSA_P256_SHA256_FIXED),
            "ES384" => Self::Ecdsa(&s::ECDSA_P384_SHA384_FIXED_SIGNING, &s::ECDSA_P384_SHA384_FIXED),
            "EdDSA" => Self::Ed,
            other => {
                let known = "HS, RS, PS with 256, 384, 512, ES256, ES384 and EdDSA";
                let what = format!("sign-method is {other:?}; known are {known}");
                return Err(KeyError::Setting { what });
            }
        })
    }
}

impl JwtKey {
    /// Reads the files.
    pub(super) fn load(options: &JwtOptions) -> Result<Self, KeyError> {
        let method = Method::named(&options.method)?;
        let needs = |what: &str| KeyError::Setting { what: format!("{} needs {what}", options.method) };
        if let Method::Hmac(algorithm) = method {
            let path = options.private_key.as_deref().ok_or_else(|| needs("priv-key"))?;
            let key = hmac::Key::new(algorithm, &read(path)?);
            return Ok(Self { signing: Some(Signing::Hmac(key.clone())), checking: Checking::Hmac(key) });
        }
        let signing = match &options.private_key {
            Some(path) => Some(File::read(path, &options.method)?.private(method)?),
            None => None,
        };
        let given = match &options.public_key {
            Some(path) => Some(File::read(path, &options.method)?.public()?),
            None => None,
        };
        let own = signing.as_ref().and_then(Signing::public);
        if let (Some(own), Some(given)) = (&own, &given)
            && own != given
        {
            return Err(KeyError::Mismatch);
        }
        let public = given.or(own).ok_or_else(|| needs("pub-key or priv-key"))?;
        let checking = Checking::Public(UnparsedPublicKey::new(method.verification(), public));
        Ok(Self { signing, checking })
    }

    /// Signs; `None` without a private key.
    pub(super) fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self.signing.as_ref()? {
            Signing::Hmac(key) => Some(hmac::sign(key, bytes).as_ref().to_vec()),
            Signing::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, bytes, &mut signature).ok()?;
                Some(signature)
            }
            Signing::Ecdsa(key) => Some(key.sign(&random, bytes).ok()?.as_ref().to_vec()),
            Signing::Ed(key) => Some(key.sign(bytes).as_ref().to_vec()),
        }
    }

    /// Whether the signature is of these bytes.
    pub(super) fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match &self.checking {
            Checking::Hmac(key) => hmac::verify(key, bytes, signature).is_ok(),
            Checking::Public(key) => key.verify(bytes, signature).is_ok(),
        }
    }
}

impl Method {
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rsa(_, algorithm) | Self::Ecdsa(_, algorithm) => algorithm,
            // An HMAC has no public key and does not get here.
            Self::Ed | Self::Hmac(_) => &signature::ED25519,
        }
    }
}

impl Signing {
    fn public(&self) -> Option<Vec<u8>> {
        match self {
            Self::Hmac(_) => None,
            Self::Rsa(key, _) => Some(key.public().as_ref().to_vec()),
            Self::Ecdsa(key) => Some(key.public_key().as_ref().to_vec()),
            Self::Ed(key) => Some(key.public_key().as_ref().to_vec()),
        }
    }
}

/// A file with a key, and what it is for.
struct File<'a> {
    path: &'a Path,
    method: &'a str,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(path: &'a Path, method: &'a str) -> Result<Self, KeyError> {
        Ok(Self { path, method, bytes: read(path)? })
    }

    fn unusable(&self, what: impl Into<String>) -> KeyError {
        KeyError::Unusable { path: self.path.to_owned(), method: self.method.to_owned(), what: what.into() }
    }

    fn private(&self, method: Method) -> Result<Signing, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(&self.bytes)
            .map_err(|error| self.unusable(format!("it holds no private key in PEM ({error})")))?;
        let bytes = der.secret_der();
        let rejected = |error: ring::error::KeyRejected| {
            self.unusable(format!("{error}; `openssl pkcs8 -topk8 -nocrypt` makes it a form that is read"))
        };
        match method {
            Method::Hmac(_) => Err(self.unusable("it is no secret")),
            Method::Rsa(encoding, _) => {
                let key = match &der {
                    PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes),
                    _ => RsaKeyPair::from_pkcs8(bytes),
                };
                Ok(Signing::Rsa(Box::new(key.map_err(rejected)?), encoding))
            }
            Method::Ecdsa(algorithm, _) => {
                let key = EcdsaKeyPair::from_pkcs8(algorithm, bytes, &SystemRandom::new());
                Ok(Signing::Ecdsa(key.map_err(rejected)?))
            }
            Method::Ed => {
                Ok(Signing::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map_err(rejected)?))
            }
        }
    }

    /// The key alone, without the envelope that names its kind.
    fn public(&self) -> Result<Vec<u8>, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&self.bytes)
            .map_err(|error| self.unusable(format!("it holds no public key in PEM ({error})")))?;
        unwrap_public(&der).ok_or_else(|| self.unusable("its envelope is damaged"))
    }
}

/// The bits of `SEQUENCE { SEQUENCE { kind }, BIT STRING }`.
fn unwrap_public(der: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    let (envelope, _) = element(der, SEQUENCE)?;
    let (_kind, rest) = element(envelope, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    // The first byte says how many bits of the last one do not count: none.
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

/// The contents of the first element, which must be of this kind, and what follows it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    (*first == kind).then(|| rest.split_at_checked(length)).flatten()
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::File { path: path.to_owned(), source })
}
