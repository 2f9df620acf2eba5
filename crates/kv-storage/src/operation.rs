use std::fmt;

/// One of the operations of [`KeyValue`](crate::KeyValue).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// [`get`](crate::KeyValue::get)
    Get,
    /// [`get_many`](crate::KeyValue::get_many)
    GetMany,
    /// [`put`](crate::KeyValue::put)
    Put,
    /// [`delete`](crate::KeyValue::delete)
    Delete,
    /// [`take`](crate::KeyValue::take)
    Take,
    /// [`put_if_absent`](crate::KeyValue::put_if_absent)
    PutIfAbsent,
    /// [`compare_and_swap`](crate::KeyValue::compare_and_swap)
    CompareAndSwap,
    /// [`compare_and_delete`](crate::KeyValue::compare_and_delete)
    CompareAndDelete,
    /// [`expire`](crate::KeyValue::expire)
    Expire,
    /// [`scan`](crate::KeyValue::scan)
    Scan,
    /// [`health`](crate::KeyValue::health)
    Health,
}

impl Operation {
    /// The method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Take => "take",
            Self::PutIfAbsent => "put_if_absent",
            Self::CompareAndSwap => "compare_and_swap",
            Self::CompareAndDelete => "compare_and_delete",
            Self::Expire => "expire",
            Self::Scan => "scan",
            Self::Health => "health",
        }
    }

    /// Whether it may change what is stored.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::GetMany | Self::Scan | Self::Health)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
