//! An authority of the tests' own, and what it issues.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate of its own making that says of itself that it is an authority, as `openssl req -x509` makes it by
/// default. Without `alternatives` its name is the common name alone.
pub fn of_its_own(name: &str, alternatives: bool) -> Pem {
    let names = match alternatives {
        true => vec![name.to_string()],
        false => Vec::new(),
    };
    let mut params = CertificateParams::new(names).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (
        (SystemTime::now() - DAY).into(),
        (SystemTime::now() + 30 * DAY).into(),
    );
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let made = params.self_signed(&key).expect("signed");
    Pem {
        chain: made.pem(),
        key: key.serialize_pem(),
    }
}

/// A certificate and its key.
pub struct Pem {
    pub chain: String,
    pub key: String,
}

impl Pem {
    /// Writes `NAME.pem` and `NAME.key`: where they are.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let place = |end: &str| folder.join(format!("{name}.{end}"));
        fs::write(place("pem"), &self.chain).expect("written");
        fs::write(place("key"), &self.key).expect("written");
        (place("pem"), place("key"))
    }
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("sound");
        params
            .distinguished_name
            .push(DnType::CommonName, "The tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("sound");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Authority(CertifiedIssuer::signed_by(params, key, &self.0).expect("signed"))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The same as DER.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for these names, good for a year.
    pub fn issue(&self, names: &[&str]) -> Pem {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        self.sign(
            names,
            key,
            (SystemTime::now() - DAY, SystemTime::now() + 365 * DAY),
        )
    }

    /// The same with an RSA key, which openssl makes.
    pub fn issue_rsa(&self, names: &[&str]) -> Pem {
        let out = std::process::Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ])
            .output()
            .expect("runs");
        let key = KeyPair::from_pem(&String::from_utf8_lossy(&out.stdout)).expect("a key");
        self.sign(
            names,
            key,
            (SystemTime::now() - DAY, SystemTime::now() + 365 * DAY),
        )
    }

    /// One whose key openssl makes by these arguments of `genpkey`, and its key: where they are.
    pub fn issue_odd(
        &self,
        names: &[&str],
        key: &[&str],
        folder: &Path,
        name: &str,
    ) -> (PathBuf, PathBuf) {
        let place = |end: &str| folder.join(format!("{name}.{end}"));
        let openssl = |arguments: &[&str], files: [(&str, PathBuf); 2]| {
            let mut command = std::process::Command::new("openssl");
            command.args(arguments);
            for (option, file) in files {
                command.arg(option).arg(file);
            }
            let out = command.output().expect("runs");
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        };
        let own = place("authority");
        fs::write(&own, self.0.pem() + &self.0.key().serialize_pem()).expect("written");
        let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let extensions = format!(
            "subjectAltName={}\nbasicConstraints=CA:FALSE\n",
            alternatives.join(",")
        );
        fs::write(place("ext"), extensions).expect("written");
        openssl(
            &[&["genpkey"], key].concat(),
            [("-out", place("key")), ("-outform", "PEM".into())],
        );
        let request = ["req", "-new", "-subj", "/CN=client"];
        openssl(&request, [("-key", place("key")), ("-out", place("csr"))]);
        let (own, request) = (own.to_str().expect("UTF-8"), place("csr"));
        let sign = [
            "x509",
            "-req",
            "-days",
            "30",
            "-set_serial",
            "7",
            "-CA",
            own,
            "-CAkey",
            own,
        ];
        let sign = [&sign[..], &["-in", request.to_str().expect("UTF-8")]].concat();
        openssl(&sign, [("-extfile", place("ext")), ("-out", place("pem"))]);
        (place("pem"), place("key"))
    }

    /// One that ended yesterday.
    pub fn expired(&self, names: &[&str]) -> Pem {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        self.sign(
            names,
            key,
            (SystemTime::now() - 30 * DAY, SystemTime::now() - DAY),
        )
    }

    /// One that is good from tomorrow on.
    pub fn coming(&self, names: &[&str]) -> Pem {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let now = SystemTime::now();
        self.sign(names, key, (now + 2 * DAY, now + 365 * DAY))
    }

    /// One that ends in ten days.
    pub fn ending(&self, names: &[&str]) -> Pem {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        self.sign(
            names,
            key,
            (SystemTime::now() - 30 * DAY, SystemTime::now() + 10 * DAY),
        )
    }

    fn sign(&self, names: &[&str], key: KeyPair, (begins, ends): (SystemTime, SystemTime)) -> Pem {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let first = names[0].clone();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, first);
        (params.not_before, params.not_after) = (begins.into(), ends.into());
        let made = params.signed_by(&key, &self.0).expect("signed");
        Pem {
            chain: made.pem() + &self.pem(),
            key: key.serialize_pem(),
        }
    }
}
