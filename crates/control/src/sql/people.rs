//! Tables `people` and `granted`: who has signed in, and what the provider said of them.

use hosting::WorkspaceId;
use jiff::Timestamp;
use store::sqlx::any::AnyRow;
use store::sqlx::{AnyExecutor, Row, query};
use store::{StoreError, Write};

use super::members::{power_from, power_to};
use super::{instant_or_none, millis, parsed};
use crate::identity::{Given, Power, SUBJECT};

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) name: String,
}

impl Person {
    pub(crate) async fn find<'e>(
        executor: impl AnyExecutor<'e>,
        id: &str,
    ) -> Result<Option<Person>, StoreError> {
        let sql = "SELECT * FROM people WHERE id = $1";
        let row = query(sql).bind(id).fetch_optional(executor).await?;
        row.as_ref().map(Person::from_row).transpose()
    }

    /// Stores who has just signed in, and gives them back with the id that they had before. A verified
    /// address is that of the person who showed it last: with a mailbox that passes on, the roles of
    /// its address pass on.
    pub(crate) async fn put(self, write: &mut Write, now: Timestamp) -> Result<Person, StoreError> {
        let sql = "UPDATE people SET email = NULL
                   WHERE email = $1 AND NOT (issuer = $2 AND subject = $3)";
        query(sql)
            .bind(&self.email)
            .bind(&self.issuer)
            .bind(&self.subject)
            .execute(&mut **write)
            .await?;
        let row = query(
            "INSERT INTO people (id, issuer, subject, email, name, last_seen_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (issuer, subject) DO UPDATE SET email = $4, name = $5, last_seen_at = $6
             RETURNING id",
        )
        .bind(&self.id)
        .bind(&self.issuer)
        .bind(&self.subject)
        .bind(&self.email)
        .bind(&self.name)
        .bind(millis(now))
        .fetch_one(&mut **write)
        .await?;
        Ok(Person { id: row.try_get("id")?, ..self })
    }

    /// What the sign-in provider gave them when they last signed in.
    pub(crate) async fn granted(
        &self,
        write: &mut Write,
    ) -> Result<Vec<(WorkspaceId, Power)>, StoreError> {
        let sql = "SELECT workspace, role, domains FROM granted WHERE person = $1";
        let rows = query(sql).bind(&self.id).fetch_all(&mut **write).await?;
        let granted = rows
            .iter()
            .map(|row| Ok((parsed(row, "granted", "workspace")?, power_from(row, "granted")?)));
        granted.collect()
    }

    /// The sign-in provider gives them a role in a workspace, or another one.
    pub(crate) async fn grant(
        &self,
        write: &mut Write,
        workspace: &WorkspaceId,
        power: &Power,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (role, domains) = power_to(power);
        query(
            "INSERT INTO granted (person, workspace, role, domains, granted_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (person, workspace) DO UPDATE SET role = $3, domains = $4",
        )
        .bind(&self.id)
        .bind(workspace.as_str())
        .bind(role)
        .bind(domains)
        .bind(millis(now))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// The sign-in provider gives them nothing in a workspace any more.
    pub(crate) async fn withdraw(
        &self,
        write: &mut Write,
        workspace: &WorkspaceId,
    ) -> Result<(), StoreError> {
        query("DELETE FROM granted WHERE person = $1 AND workspace = $2")
            .bind(&self.id)
            .bind(workspace.as_str())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// Every role that they were given, here and by the provider, in open and closed workspaces.
    pub(crate) async fn given<'e>(
        &self,
        executor: impl AnyExecutor<'e>,
    ) -> Result<Vec<Given>, StoreError> {
        let rows = query(
            "SELECT m.workspace, m.role, m.domains, w.name, w.closed_at
             FROM members m JOIN workspaces w ON w.id = m.workspace WHERE m.who = $1 OR m.who = $2
             UNION ALL
             SELECT g.workspace, g.role, g.domains, w.name, w.closed_at
             FROM granted g JOIN workspaces w ON w.id = g.workspace WHERE g.person = $3",
        )
        // Without an address: no member's name is empty.
        .bind(self.email.as_deref().unwrap_or_default())
        .bind(format!("{SUBJECT}{}", self.subject))
        .bind(&self.id)
        .fetch_all(executor)
        .await?;
        rows.iter().map(given).collect()
    }

    /// Notes calls of people.
    pub(crate) async fn note_seen(
        write: &mut Write,
        id: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        query(
            "UPDATE people SET last_seen_at = $2 WHERE id = $1 AND coalesce(last_seen_at, 0) < $2",
        )
        .bind(id)
        .bind(millis(at))
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// For people: the verified address, or whatever else tells them apart. The name alone does not:
    /// whoever may choose theirs could choose another's.
    pub(crate) fn shown(&self) -> String {
        match &self.email {
            Some(email) => email.clone(),
            None if self.name.is_empty() => format!("{SUBJECT}{}", self.subject),
            None => format!("{} ({SUBJECT}{})", self.name, self.subject),
        }
    }

    fn from_row(row: &AnyRow) -> Result<Person, StoreError> {
        Ok(Person {
            id: row.try_get("id")?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            email: row.try_get("email")?,
            name: row.try_get("name")?,
        })
    }
}

/// How many can do everything, by the roles of open workspaces, given here and by the provider.
pub(crate) async fn platform_admins(write: &mut Write) -> Result<i64, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM members m JOIN workspaces w ON w.id = m.workspace
                       WHERE m.role = 'platform-admin' AND w.closed_at IS NULL)
               + (SELECT count(*) FROM granted g JOIN workspaces w ON w.id = g.workspace
                  WHERE g.role = 'platform-admin' AND w.closed_at IS NULL) AS admins";
    let row = query(sql).fetch_one(&mut **write).await?;
    Ok(row.try_get("admins")?)
}

fn given(row: &AnyRow) -> Result<Given, StoreError> {
    Ok(Given {
        workspace: parsed(row, "members", "workspace")?,
        name: row.try_get("name")?,
        closed: instant_or_none(row, "closed_at")?.is_some(),
        power: power_from(row, "members")?,
    })
}
