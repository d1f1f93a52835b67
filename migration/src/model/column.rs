/// What a column holds. Each kind has one type per database; see the table in `dialect.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A UUID.
    Uuid,
    /// Text, compared bytewise.
    Text,
    /// An instant in UTC, to the microsecond.
    Timestamp,
    /// A JSON value.
    Json,
    /// Bytes.
    Bytes,
    /// A signed 64-bit integer.
    Integer,
    /// True or false.
    Boolean,
}

impl Kind {
    /// The kind in one word, as the diagram shows it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Uuid => "uuid",
            Kind::Text => "text",
            Kind::Timestamp => "timestamp",
            Kind::Json => "json",
            Kind::Bytes => "bytes",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
        }
    }
}

/// What a column holds when an insert leaves it out. Times have no default: the application's clock sets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultValue {
    /// A text.
    Text(&'static str),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A JSON text.
    Json(&'static str),
}

/// What a column's values must satisfy; becomes the constraint `ck_<table>_<column>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// This number or more.
    AtLeast(i64),
    /// A JSON array.
    JsonArray,
}

/// One column of a table: not null, without a default and without a rule until told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) default: Option<DefaultValue>,
    pub(crate) rule: Option<Rule>,
}

impl Column {
    /// A column of a kind.
    pub fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            nullable: false,
            default: None,
            rule: None,
        }
    }

    /// A UUID column.
    pub fn uuid(name: &'static str) -> Self {
        Self::new(name, Kind::Uuid)
    }

    /// A text column.
    pub fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// An instant.
    pub fn timestamp(name: &'static str) -> Self {
        Self::new(name, Kind::Timestamp)
    }

    /// A JSON column.
    pub fn json(name: &'static str) -> Self {
        Self::new(name, Kind::Json)
    }

    /// A bytes column.
    pub fn bytes(name: &'static str) -> Self {
        Self::new(name, Kind::Bytes)
    }

    /// A signed 64-bit integer column.
    pub fn integer(name: &'static str) -> Self {
        Self::new(name, Kind::Integer)
    }

    /// A boolean column.
    pub fn boolean(name: &'static str) -> Self {
        Self::new(name, Kind::Boolean)
    }

    /// Lets the column be NULL.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// The value of a row that leaves the column out.
    #[must_use]
    pub fn default(mut self, value: DefaultValue) -> Self {
        self.default = Some(value);
        self
    }

    /// [`default`](Self::default) for text.
    #[must_use]
    pub fn default_text(self, value: &'static str) -> Self {
        self.default(DefaultValue::Text(value))
    }

    /// [`default`](Self::default) for integers.
    #[must_use]
    pub fn default_integer(self, value: i64) -> Self {
        self.default(DefaultValue::Integer(value))
    }

    /// [`default`](Self::default) for booleans.
    #[must_use]
    pub fn default_boolean(self, value: bool) -> Self {
        self.default(DefaultValue::Boolean(value))
    }

    /// [`default`](Self::default) for JSON, as JSON text.
    #[must_use]
    pub fn default_json(self, value: &'static str) -> Self {
        self.default(DefaultValue::Json(value))
    }

    /// The column's values are among these words. They are part of history: write them out, never borrow them from an
    /// enum that will grow.
    #[must_use]
    pub fn one_of(mut self, words: &'static [&'static str]) -> Self {
        self.rule = Some(Rule::OneOf(words));
        self
    }

    /// The column's values are this number or more.
    #[must_use]
    pub fn at_least(mut self, least: i64) -> Self {
        self.rule = Some(Rule::AtLeast(least));
        self
    }

    /// The column's values are JSON arrays.
    #[must_use]
    pub fn json_array(mut self) -> Self {
        self.rule = Some(Rule::JsonArray);
        self
    }

    /// The column's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it can be NULL.
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// Its default, if it has one.
    pub fn default_value(&self) -> Option<&DefaultValue> {
        self.default.as_ref()
    }

    /// Its rule, if it has one.
    pub fn rule(&self) -> Option<&Rule> {
        self.rule.as_ref()
    }
}
