//! Which server a command is about: options, environment variables and profile files.

use std::path::{Path, PathBuf};

use notation::yaml;
use serde_json::{Map, Value};

use crate::fault::Fault;

/// Options of every command; what none of them says stands in `quickstart.json` of the data directory.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConnectionArgs {
    /// URL of the admin API [default: from the profile, else DATA/quickstart.json, else -c FILE]
    #[arg(long, value_name = "URL", env = "FLEET_ADMIN_URL", global = true, help_heading = SERVER, hide_env_values = true)]
    pub url: Option<String>,
    /// File that holds an operator's key
    #[arg(
        long,
        value_name = "FILE",
        env = "FLEET_ADMIN_KEY_PATH",
        global = true, help_heading = SERVER,
        hide_env_values = true
    )]
    pub api_key_path: Option<PathBuf>,
    /// CA certificate that signed the server's
    #[arg(long, value_name = "FILE", env = "FLEET_ADMIN_CA", global = true, help_heading = SERVER, hide_env_values = true)]
    pub ca: Option<PathBuf>,
    /// Certificate to show to a server that asks for one (`client_authentication`)
    #[arg(long, value_name = "FILE", global = true, help_heading = SERVER)]
    pub client_certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", global = true, help_heading = SERVER)]
    pub client_key: Option<PathBuf>,
    /// YAML file with `url`, `ca`, `api_key` or `api_key_path`, `client_certificate`, `client_key`
    #[arg(long, value_name = "FILE", env = "FLEET_PROFILE", global = true, help_heading = SERVER, hide_env_values = true)]
    pub profile: Option<PathBuf>,
}

/// Heading of these options in help texts.
pub(crate) const SERVER: &str = "Server";

/// What options, environment and a profile say together.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "as in `ConnectionArgs`")]
pub struct Profile {
    pub url: Option<String>,
    /// A key in place of its file.
    pub api_key: Option<String>,
    pub api_key_path: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl ConnectionArgs {
    /// Lays the options over the environment (`key` is the value of `FLEET_ADMIN_KEY`) and that over the profile file.
    ///
    /// # Errors
    /// The profile cannot be read, or has a member that is not known.
    pub fn profile(&self, key: Option<String>) -> Result<Profile, Fault> {
        let file = match &self.profile {
            Some(path) => Profile::read(path)?,
            None => Profile::default(),
        };
        let names_a_key = self.api_key_path.is_some() || key.is_some();
        Ok(Profile {
            url: self.url.clone().or(file.url),
            api_key: match self.api_key_path {
                Some(_) => None,
                None => key.or(file.api_key),
            },
            api_key_path: match names_a_key {
                true => self.api_key_path.clone(),
                false => file.api_key_path,
            },
            ca: self.ca.clone().or(file.ca),
            client_certificate: self.client_certificate.clone().or(file.client_certificate),
            client_key: self.client_key.clone().or(file.client_key),
        })
    }
}

impl Profile {
    fn read(path: &Path) -> Result<Self, Fault> {
        let text = std::fs::read(path).map_err(|error| Fault::file(path, error))?;
        let shown = path.display();
        let members = yaml::read(&text)
            .and_then(|node| node.to_json())
            .map_err(|error| Fault::Usage(format!("{shown}: {error}")))?;
        let members: Map<String, Value> = serde_json::from_str(&members)
            .map_err(|_| Fault::Usage(format!("{shown}: expected `url: …` and the like")))?;
        let mut profile = Self::default();
        let beside = path.parent().unwrap_or(Path::new("."));
        for (name, value) in members {
            let Value::String(value) = value else {
                return Err(Fault::Usage(format!("{shown}: {name} must be text")));
            };
            let file = Some(beside.join(&value));
            match name.as_str() {
                "url" => profile.url = Some(value),
                "api_key" => profile.api_key = Some(value),
                "api_key_path" => profile.api_key_path = file,
                "ca" => profile.ca = file,
                "client_certificate" => profile.client_certificate = file,
                "client_key" => profile.client_key = file,
                _ => {
                    return Err(Fault::Usage(format!(
                        "{shown}: {name} is not known: use url, ca, api_key, api_key_path, client_certificate, \
                         client_key"
                    )));
                }
            }
        }
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_environment_and_that_over_the_profile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profile.yml");
        std::fs::write(
            &path,
            "url: https://a:1\napi_key_path: operator.key\nca: ca.crt\n",
        )
        .unwrap();
        let mut args = ConnectionArgs {
            profile: Some(path.clone()),
            ..ConnectionArgs::default()
        };
        let read = args.profile(None).unwrap();
        assert_eq!(read.url.as_deref(), Some("https://a:1"));
        assert_eq!(read.api_key_path, Some(directory.path().join("operator.key")));
        let read = args.profile(Some("key".into())).unwrap();
        assert_eq!((read.api_key.as_deref(), read.api_key_path), (Some("key"), None));
        args.api_key_path = Some("other".into());
        let read = args.profile(Some("key".into())).unwrap();
        assert_eq!((read.api_key, read.api_key_path), (None, Some("other".into())));
        std::fs::write(&path, "urk: https://a:1\n").unwrap();
        let refused = args.profile(None).unwrap_err();
        assert!(refused.to_string().contains("urk is not known"), "{refused}");
        assert_eq!(refused.exit_code(), 2);
    }
}
