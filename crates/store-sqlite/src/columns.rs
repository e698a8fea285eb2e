//! How the types of the interface stand in columns: ids and JSON as text, times as milliseconds, lists as JSON.

use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};
use store::{
    ActionDocId, ActionId, AgentId, BlobId, Digest, EnrollmentId, FileId, KeyId, OperatorRole, PolicyId,
    RawJson, SecretId, Timestamp, TokenId, UploadId, UploadState,
};

/// A value that can be written to a column. rusqlite's own trait cannot be implemented for another crate's types.
pub(crate) trait ToColumn {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>>;
}

/// A value that can be read from a column.
pub(crate) trait FromColumn: Sized {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self>;
}

/// The parameters of a statement, each in its column's form.
macro_rules! params {
    ($($value:expr),* $(,)?) => { [$($crate::columns::ToColumn::to_column(&$value)?),*] };
}
pub(crate) use params;

/// Reads any [`FromColumn`] out of a row.
pub(crate) trait ReadColumn {
    fn read<T: FromColumn>(&self, column: usize) -> rusqlite::Result<T>;
}

impl ReadColumn for Row<'_> {
    fn read<T: FromColumn>(&self, column: usize) -> rusqlite::Result<T> {
        struct Read<T>(T);
        impl<T: FromColumn> FromSql for Read<T> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                T::from_column(value).map(Self)
            }
        }
        self.get::<_, Read<T>>(column).map(|read| read.0)
    }
}

impl<T: ToColumn + ?Sized> ToColumn for &T {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        (**self).to_column()
    }
}

impl<T: ToColumn> ToColumn for Option<T> {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_ref()
            .map_or_else(|| Ok(ToSqlOutput::Borrowed(ValueRef::Null)), ToColumn::to_column)
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(None),
            value => T::from_column(value).map(Some),
        }
    }
}

/// What rusqlite knows by itself.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl ToColumn for $type {
            fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.to_sql()
            }
        }

        impl FromColumn for $type {
            fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::column_result(value)
            }
        }
    )*};
}
plain!(bool, i64, u32, String, [u8; 16], [u8; 32]);

/// Bytes as they are; a list would be JSON.
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl ToColumn for Raw {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_slice()))
    }
}

impl FromColumn for Raw {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_blob().map(|bytes| Self(bytes.to_vec()))
    }
}

impl ToColumn for str {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self))
    }
}

macro_rules! text_id {
    ($($name:ident),*) => {$(
        impl ToColumn for $name {
            fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.as_str().to_column()
            }
        }

        impl FromColumn for $name {
            fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str().map(Self::from)
            }
        }
    )*};
}

text_id!(
    AgentId,
    PolicyId,
    ActionId,
    ActionDocId,
    KeyId,
    TokenId,
    EnrollmentId,
    BlobId,
    UploadId,
    FileId,
    SecretId
);

impl ToColumn for Timestamp {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.millis().into())
    }
}

impl FromColumn for Timestamp {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

/// Its place in the list of all.
macro_rules! place {
    ($($type:ident),*) => {$(
        impl ToColumn for $type {
            fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let place = Self::ALL.iter().position(|each| each == self);
                Ok(place
                    .and_then(|place| i64::try_from(place).ok())
                    .unwrap_or(-1)
                    .into())
            }
        }

        impl FromColumn for $type {
            fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let place = value.as_i64()?;
                let each = usize::try_from(place).ok().and_then(|place| Self::ALL.get(place));
                each.copied().ok_or(FromSqlError::OutOfRange(place))
            }
        }
    )*};
}
place!(UploadState, OperatorRole);

impl ToColumn for Digest {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_bytes().to_sql()
    }
}

impl FromColumn for Digest {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::from_column(value).map(Self::from)
    }
}

impl ToColumn for RawJson {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_column()
    }
}

impl FromColumn for RawJson {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?.to_owned()).map_err(FromSqlError::other)
    }
}

/// A list in one column, as a JSON array.
impl<T: Serialize> ToColumn for Vec<T> {
    fn to_column(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(self)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromColumn for Vec<T> {
    fn from_column(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map_err(FromSqlError::other)
    }
}

/// A column that counts something.
pub(crate) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let counted: i64 = row.get(column)?;
    u64::try_from(counted).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, counted))
}
