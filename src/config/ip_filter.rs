//! The section `ip_filter`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    config::{
        error::Faults,
        files::ListFiles,
        value::{Period, RefusalStatus, Size},
    },
    ip_filter::{
        allowlist::IpAllowlist,
        denylist::IpDenylist,
        subject::{IpSubject, UnknownClients},
    },
    ip_set::{builder::HostBits, list::IpList, set::IpSet},
    policy::dry_run::DryRun,
    security::builder::SecurityBuilder,
};

/// Who may come at all.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct IpFilterConfig {
    /// Who may come; empty: everybody. It can be reloaded.
    pub allow: IpSet,
    /// The same from a file, an entry a line, which is read again when it has changed. A bad file keeps the list as it was.
    pub allow_file: Option<PathBuf>,
    /// Who may not come, whatever else says so. It can be reloaded.
    pub deny: IpSet,
    /// The same from a file.
    pub deny_file: Option<PathBuf>,
    /// Further lists, with settings of their own.
    pub lists: Vec<IpListConfig>,
    /// How often the files are looked at; every five seconds if nothing is said.
    pub reload: Period,
}

impl Default for IpFilterConfig {
    fn default() -> Self {
        Self {
            allow: IpSet::empty(),
            allow_file: None,
            deny: IpSet::empty(),
            deny_file: None,
            lists: Vec::new(),
            reload: Period::seconds(5),
        }
    }
}

/// A list with settings of its own.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct IpListConfig {
    /// What events call the list.
    pub name: String,
    /// Whether the list says who may come, or who may not.
    pub kind: ListKind,
    /// Its entries. They can be reloaded.
    #[serde(default)]
    pub entries: IpSet,
    /// A file with its entries, instead.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// What the file may have in it: bits behind the prefix of an entry are masked, or refused.
    #[serde(default)]
    pub host_bits: HostBitsKind,
    /// How large the file may be; 64 MiB if nothing is said.
    #[serde(default)]
    pub max_bytes: Option<Size>,
    /// Whose address is judged.
    #[serde(default)]
    pub subject: SubjectKind,
    /// The status of a refusal; 403 if nothing is said.
    #[serde(default)]
    pub status: Option<RefusalStatus>,
    /// Whether the list covers peers that connect through a Unix socket.
    #[serde(default)]
    pub unix_sockets: bool,
    /// What a deny list does with clients that cannot be known; they are refused if nothing is said.
    #[serde(default)]
    pub unknown_clients: Option<UnknownKind>,
    /// Whether an allow list judges a request that went through trusted proxies alone by the farthest one of them.
    #[serde(default)]
    pub proxies_behind_proxies: bool,
    /// Whether the list only observes.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a list is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ListKind {
    /// Who is not in it may not come.
    Allow,
    /// Who is in it may not come.
    Deny,
}

/// What happens to bits behind the prefix of an entry.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostBitsKind {
    /// They are masked, and an event tells of it.
    #[default]
    Mask,
    /// The file is refused.
    Refuse,
}

/// Whose address a list judges.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubjectKind {
    /// The client's, as far as trusted proxies vouch for it.
    #[default]
    Client,
    /// The other end of the connection's, which may be a proxy.
    Peer,
}

/// What a deny list does with clients that cannot be known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownKind {
    /// They pass.
    Admit,
    /// They are refused.
    Refuse,
}

/// The lists that can be replaced, by the path of their key.
pub(crate) type InlineLists = Vec<(String, IpList)>;

impl IpFilterConfig {
    /// Returns the entries that can be reloaded, in the order of [`InlineLists`].
    pub(crate) fn inline(&self) -> Vec<(String, IpSet)> {
        let mut inline = vec![
            ("ip_filter.deny".to_owned(), self.deny.clone()),
            ("ip_filter.allow".to_owned(), self.allow.clone()),
        ];
        for (index, list) in self.lists.iter().enumerate() {
            if list.file.is_none() {
                let key = format!("ip_filter.lists[{index}].entries");
                inline.push((key, list.entries.clone()));
            }
        }
        inline
    }

    /// Returns the section without what can be reloaded.
    pub(crate) fn fixed(&self) -> Self {
        let mut fixed = self.clone();
        fixed.allow = IpSet::empty();
        fixed.deny = IpSet::empty();
        for list in &mut fixed.lists {
            list.entries = IpSet::empty();
        }
        fixed
    }

    pub(crate) fn assemble(
        &self,
        mut builder: SecurityBuilder,
        files: &mut ListFiles,
        faults: &mut Faults,
    ) -> (SecurityBuilder, InlineLists) {
        if self.reload.0.is_zero() {
            faults.add("ip_filter.reload", "must be longer than \"0s\"");
        }
        let mut inline = Vec::new();
        // Both stand there even if they are empty, so that entries can come later.
        let denied = IpList::new("denied", self.deny.clone());
        inline.push(("ip_filter.deny".to_owned(), denied.clone()));
        builder = builder.deny(IpDenylist::new(denied).idle_while_empty());
        let allowed = IpList::new("allowed", self.allow.clone());
        inline.push(("ip_filter.allow".to_owned(), allowed.clone()));
        builder = builder.allow(IpAllowlist::idle_while_empty(allowed));
        if let Some(path) = &self.deny_file {
            let key = "ip_filter.deny_file";
            if let Some(list) = files.open(key, "denied_file", path, None, None, faults) {
                builder = builder.deny(IpDenylist::new(list));
            }
        }
        if let Some(path) = &self.allow_file {
            let key = "ip_filter.allow_file";
            if let Some(list) = files.open(key, "allowed_file", path, None, None, faults)
                && let Some(list) = faults.take(key, IpAllowlist::new(list))
            {
                builder = builder.allow(list);
            }
        }
        for (index, list) in self.lists.iter().enumerate() {
            let path = format!("ip_filter.lists[{index}]");
            builder = list.assemble(&path, builder, files, &mut inline, faults);
        }
        (builder, inline)
    }
}

impl IpListConfig {
    fn assemble(
        &self,
        path: &str,
        builder: SecurityBuilder,
        files: &mut ListFiles,
        inline: &mut InlineLists,
        faults: &mut Faults,
    ) -> SecurityBuilder {
        let Some(list) = self.open(path, files, inline, faults) else {
            return builder;
        };
        let subject = match self.subject {
            SubjectKind::Client => IpSubject::Client,
            SubjectKind::Peer => IpSubject::Peer,
        };
        let mut not_for = |key: &str, kind: &str| {
            faults.add(
                format!("{path}.{key}"),
                format_args!("is for lists of kind = \"{kind}\""),
            );
        };
        match self.kind {
            ListKind::Allow => {
                if self.unknown_clients.is_some() {
                    not_for("unknown_clients", "deny");
                }
                let Some(mut allow) = faults.take(path, IpAllowlist::new(list)) else {
                    return builder;
                };
                allow = allow.with_subject(subject);
                if let Some(status) = self.status {
                    allow = allow.with_status(status.0);
                }
                if self.unix_sockets {
                    allow = allow.with_unix_sockets();
                }
                if self.proxies_behind_proxies {
                    allow = allow.with_proxies_behind_proxies();
                }
                if self.dry_run {
                    builder.policy(DryRun::new(allow))
                } else {
                    builder.allow(allow)
                }
            }
            ListKind::Deny => {
                if self.proxies_behind_proxies {
                    not_for("proxies_behind_proxies", "allow");
                }
                let mut deny = IpDenylist::new(list).with_subject(subject);
                if let Some(status) = self.status {
                    deny = deny.with_status(status.0);
                }
                if self.unix_sockets {
                    deny = deny.with_unix_sockets();
                }
                deny = deny.with_unknown_clients(match self.unknown_clients {
                    Some(UnknownKind::Admit) => UnknownClients::Admit,
                    Some(UnknownKind::Refuse) | None => UnknownClients::Refuse,
                });
                if self.dry_run {
                    builder.policy(DryRun::new(deny))
                } else {
                    builder.deny(deny)
                }
            }
        }
    }

    fn open(
        &self,
        path: &str,
        files: &mut ListFiles,
        inline: &mut InlineLists,
        faults: &mut Faults,
    ) -> Option<IpList> {
        if self.name.is_empty() || 64 < self.name.len() || self.name.contains(char::is_control) {
            faults.add(
                format!("{path}.name"),
                "must be 1 to 64 bytes without control characters",
            );
            return None;
        }
        match (&self.file, self.entries.is_empty()) {
            (Some(_), false) => {
                let key = format!("{path}.file");
                faults.add(
                    key,
                    format_args!("contradicts {path}.entries: leave one of them out"),
                );
                None
            }
            (Some(file), true) => {
                let host_bits = match self.host_bits {
                    HostBitsKind::Mask => HostBits::Mask,
                    HostBitsKind::Refuse => HostBits::Refuse,
                };
                let key = format!("{path}.file");
                files.open(
                    &key,
                    &self.name,
                    file,
                    Some(host_bits),
                    self.max_bytes,
                    faults,
                )
            }
            (None, false) => {
                let list = IpList::new(self.name.as_str(), self.entries.clone());
                inline.push((format!("{path}.entries"), list.clone()));
                Some(list)
            }
            (None, true) => {
                let key = format!("{path}.entries");
                faults.add(
                    key,
                    format_args!("must have an entry, or {path}.file must name a file"),
                );
                None
            }
        }
    }
}
