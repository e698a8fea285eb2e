//! O3, O16, O17: keys with their owners, and enrollment tokens.
//!
//! In: an owner, or a presented key. Out: the key once, later whose it is. Elasticsearch issues and verifies every key; whose
//! an accepted one is, the documents say: an agent or a token names it, or its own metadata an operator.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use store::{
    AgentId, ApiKey, EnrollmentToken, KeyId, KeyOwner, KeyPurpose, Keys, NewToken, Page, PageRequest, Result,
    StoreError, Timestamp, TokenId, Verification,
};

use crate::{
    ElasticStore, Failure, agent_document, agents::with, api_keys::NewApiKey, documents::Documents,
    index::Index, tokens,
};

#[async_trait]
impl Keys for ElasticStore {
    async fn verify(&self, presented: &ApiKey) -> Result<Verification> {
        let documents = self.open().await?;
        if let Some(known) = self.verified.find(presented, Instant::now()) {
            return Ok(known);
        }
        // The time before the question: an invalidation during it counts.
        let asked = Instant::now();
        let Some(name) = self.connection.authenticate(presented).await? else {
            self.verified.refuse(presented, asked);
            return Ok(Verification::Unknown);
        };
        let Some(owner) = self.owner(&documents, &presented.id, &name).await? else {
            // A good key of Elasticsearch that is nobody's here.
            return Ok(Verification::Unknown);
        };
        self.verified.accept(presented, owner.clone(), asked);
        Ok(Verification::Active(owner))
    }

    async fn issue(&self, owner: KeyOwner, purpose: KeyPurpose, _at: Timestamp) -> Result<ApiKey> {
        let _open = self.open().await?;
        let key = self.issue_for(&owner, &purpose, None, true).await?;
        self.verified.accept(&key, owner, Instant::now());
        Ok(key)
    }

    async fn adopt_key(
        &self,
        _given: &ApiKey,
        _owner: KeyOwner,
        _purpose: KeyPurpose,
        _at: Timestamp,
    ) -> Result<()> {
        Err(ADOPTS_NONE)
    }

    async fn invalidate_keys(&self, ids: &[KeyId], _at: Timestamp) -> Result<()> {
        let _open = self.open().await?;
        Ok(self.end_keys(ids).await?)
    }

    async fn create_token(&self, token: NewToken) -> Result<(EnrollmentToken, ApiKey)> {
        let documents = self.open().await?;
        tokens::check(&documents, &token).await?;
        let owner = KeyOwner::Token(token.id.clone());
        // Elasticsearch has a clock of its own: what it is told is how long.
        let expires_in = token.expires_at.map(|end| end.since(token.at));
        let key = self.issue_for(&owner, &token.purpose, expires_in, true).await?;
        match tokens::create(&documents, token, &key).await {
            Ok(stored) => {
                self.verified.accept(&key, owner, Instant::now());
                Ok((stored, key))
            }
            Err(error) => {
                self.end_keys(std::slice::from_ref(&key.id)).await?;
                Err(error)
            }
        }
    }

    async fn adopt_token(&self, _token: NewToken, _given: &ApiKey) -> Result<EnrollmentToken> {
        Err(ADOPTS_NONE)
    }

    async fn token_by_key(&self, key: &KeyId) -> Result<Option<EnrollmentToken>> {
        tokens::by_key(&*self.open().await?, key).await
    }

    async fn token(&self, id: &TokenId) -> Result<Option<EnrollmentToken>> {
        tokens::by_id(&*self.open().await?, id).await
    }

    async fn tokens(&self, page: PageRequest) -> Result<Page<EnrollmentToken>> {
        tokens::page(&*self.open().await?, &page).await
    }

    async fn revoke_token(&self, id: &TokenId, at: Timestamp) -> Result<()> {
        let documents = self.open().await?;
        self.revoke(&documents, id, at).await
    }
}

impl ElasticStore {
    /// The key first, so that a crash leaves a token that admits no agent.
    pub(crate) async fn revoke(&self, documents: &Documents, id: &TokenId, at: Timestamp) -> Result<()> {
        let token = tokens::by_id(documents, id).await?;
        let token = token.ok_or_else(|| crate::engine::missing("enrollment token", id))?;
        self.end_keys(std::slice::from_ref(&token.key)).await?;
        tokens::deactivate(documents, id, at).await
    }

    /// Issues a key whose metadata say whose it is.
    pub(crate) async fn issue_for(
        &self,
        owner: &KeyOwner,
        purpose: &KeyPurpose,
        expires_in: Option<Duration>,
        is_found_at_once: bool,
    ) -> std::result::Result<ApiKey, Failure> {
        let mut metadata: Value = match &purpose.metadata {
            Some(metadata) => metadata.read().map_err(crate::document::unwritable)?,
            None => json!({}),
        };
        let (role, kind, managed_by) = match owner {
            KeyOwner::Agent(_) => ("fleet-apikey-access", "access", "fleet-server"),
            KeyOwner::Token(_) => ("fleet-apikey-enroll", "enroll", "fleet"),
            KeyOwner::Operator => ("fleet-apikey-operator", "operator", "fleet-server"),
        };
        metadata["managed"] = true.into();
        metadata["managed_by"] = managed_by.into();
        metadata["type"] = kind.into();
        if let KeyOwner::Agent(agent) = owner {
            metadata["agent_id"] = agent.as_str().into();
        }
        let new = NewApiKey {
            name: &purpose.name,
            role,
            metadata,
            expires_in,
            is_found_at_once,
        };
        let key = self.connection.issue_key(new).await?;
        if !is_found_at_once {
            self.unseen.insert(key.id.clone(), Instant::now());
        }
        Ok(key)
    }

    /// Invalidates keys of ours, and forgets them. One that was issued a moment ago is waited for: Elasticsearch
    /// invalidates only what its searches find (data.md 10.5).
    pub(crate) async fn end_keys(&self, ids: &[KeyId]) -> std::result::Result<(), Failure> {
        let mut left = ids.to_vec();
        let started = Instant::now();
        loop {
            let gone = self.connection.invalidate_api_keys(&left).await?;
            self.verified.forget(&left);
            left.retain(|id| !gone.contains(id) && self.may_be_unseen(id));
            for id in &gone {
                self.unseen.remove(id);
            }
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() > SEEN_WITHIN {
                return Err(Failure::Timeout);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn may_be_unseen(&self, id: &KeyId) -> bool {
        self.unseen
            .get(id)
            .is_some_and(|issued| issued.elapsed() < SEEN_WITHIN)
    }

    /// Invalidates every key of an agent that is found, and this one.
    pub(crate) async fn end_keys_of(
        &self,
        agent: &AgentId,
        access_key: KeyId,
    ) -> std::result::Result<(), Failure> {
        let listed = self.connection.living_keys("agent_id", agent.as_str()).await?;
        let mut ids: Vec<_> = listed.into_iter().map(|key| key.id).collect();
        if !access_key.as_str().is_empty() && !ids.contains(&access_key) {
            ids.push(access_key);
        }
        self.end_keys(&ids).await
    }

    /// Whose the key is: an agent's, mostly, which has the key's name.
    async fn owner(&self, documents: &Documents, key: &KeyId, name: &str) -> Result<Option<KeyOwner>> {
        if let Some(found) = documents
            .get_members(Index::Agents, name, &["access_api_key_id"])
            .await?
            && agent_document::agent(&found)?.access_key == *key
        {
            return Ok(Some(KeyOwner::Agent(AgentId::from(name))));
        }
        let search = with("access_api_key_id", key.as_str(), 1);
        let (agents, token) = tokio::try_join!(
            async { Ok::<_, StoreError>(documents.search(Index::Agents, &search).await?) },
            tokens::by_key(documents, key),
        )?;
        if let Some(agent) = agents.hits.first() {
            return Ok(Some(KeyOwner::Agent(AgentId::from(agent.id.as_str()))));
        }
        if let Some(token) = token {
            return Ok(Some(KeyOwner::Token(token.id)));
        }
        let metadata = self.connection.own_key(key).await?.map(|key| key.metadata);
        let metadata = metadata.unwrap_or_default();
        Ok(match metadata["type"].as_str() {
            Some("operator") => Some(KeyOwner::Operator),
            Some("access") => metadata["agent_id"]
                .as_str()
                .map(|agent| KeyOwner::Agent(AgentId::from(agent))),
            _ => None,
        })
    }
}

/// How long searches may not find a key that was issued.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const ADOPTS_NONE: StoreError = StoreError::Unsupported {
    what: "adopt a key: Elasticsearch issues every key itself",
};
