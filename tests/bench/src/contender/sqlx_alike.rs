//! What is the same with sqlx on both databases: a macro and no function, for whoever is generic over the databases of
//! sqlx needs a page of bounds for each function.

/// The contender `Sqlx` of a database, in a module that has its pools, how it begins to write, and its bulk insert.
macro_rules! sqlx_contender {
    ($database:ident) => {
        /// The row of an answer.
        type Row = <$database as sqlx::Database>::Row;

        impl Sqlx {
            async fn begin(&self) -> Result<Transaction<'static, $database>> {
                Ok(self.writer.begin_with(BEGIN).await?)
            }

            async fn page(&self, newest: u64, deep: bool) -> Result<u64> {
                let (made, id) = data::before(newest);
                let query = match deep {
                    true => sqlx::query(sql::PAGE_AFTER).bind(made).bind(id),
                    false => sqlx::query(sql::FIRST_PAGE),
                };
                let rows = query.fetch_all(&self.reader).await?;
                let users = rows.iter().map(user).collect::<Result<Vec<User>>>()?;
                Ok(data::are_users(newest, &users))
            }

            async fn read_unique(&self, at: u64) -> Result<u64> {
                let query = sqlx::query(sql::USER_BY_EMAIL).bind(data::email(at));
                found(at, query.fetch_optional(&self.reader).await?.as_ref())
            }

            async fn create(&self, slug: &str) -> Result<u64> {
                let now = data::now();
                let query = sqlx::query(sql::INSERT_BOT).bind(data::new_id()).bind(slug);
                Ok(query
                    .bind(now)
                    .bind(now)
                    .execute(&self.writer)
                    .await?
                    .rows_affected())
            }

            async fn transaction(&self, user: u64, [one, two]: &[Entry; 2]) -> Result<u64> {
                let mut tx = self.begin().await?;
                let rows = read(&mut *tx, user).await? + insert(&mut *tx, one).await? + insert(&mut *tx, two).await?;
                tx.commit().await?;
                Ok(rows)
            }

            async fn modify(&self, at: u64) -> Result<u64> {
                let mut tx = self.begin().await?;
                let id = data::id(Kind::User, at);
                let Some(row) = sqlx::query(sql::USER_BY_KEY)
                    .bind(id)
                    .fetch_optional(&mut *tx)
                    .await?
                else {
                    return Ok(0);
                };
                let role = if user(&row)?.role == "admin" {
                    "user"
                } else {
                    "admin"
                };
                let update = sqlx::query(sql::UPDATE_USER)
                    .bind(role)
                    .bind(data::now())
                    .bind(id);
                let changed = update.execute(&mut *tx).await?.rows_affected();
                tx.commit().await?;
                Ok(changed)
            }

            async fn do_it(&self, op: &Op) -> Result<u64> {
                match op {
                    Op::ReadKey(at) => read(&self.reader, *at).await,
                    Op::ReadUnique(at) => self.read_unique(*at).await,
                    Op::Page { newest, deep } => self.page(*newest, *deep).await,
                    Op::Insert(entries) => each(entries, |entry| insert(&self.writer, entry)).await,
                    Op::Create(slugs) => each(slugs, |slug| self.create(slug)).await,
                    Op::Transaction(all) => each(all, |(user, entries)| self.transaction(*user, entries)).await,
                    Op::Modify(user) => self.modify(*user).await,
                    Op::Bulk(entries) => self.bulk(entries).await,
                    Op::Chat(_) | Op::Claim(_) => Err(super::unsupported(op)),
                }
            }
        }

        async fn read<'e>(db: impl Executor<'e, Database = $database>, at: u64) -> Result<u64> {
            let query = sqlx::query(sql::USER_BY_KEY).bind(data::id(Kind::User, at));
            found(at, query.fetch_optional(db).await?.as_ref())
        }

        async fn insert<'e>(db: impl Executor<'e, Database = $database>, entry: &Entry) -> Result<u64> {
            let query = sqlx::query(sql::INSERT_ENTRY)
                .bind(data::new_id())
                .bind(entry.bot_id)
                .bind(&entry.memory_id)
                .bind(entry.actor)
                .bind(&entry.details)
                .bind(data::now());
            Ok(query.execute(db).await?.rows_affected())
        }

        fn found(at: u64, row: Option<&Row>) -> Result<u64> {
            let user = row.map(user).transpose()?;
            Ok(data::is_user(at, user.as_ref()))
        }

        fn user(row: &Row) -> Result<User> {
            Ok(User {
                id: row.try_get(0)?,
                email: row.try_get(1)?,
                email_lc: row.try_get(2)?,
                role: row.try_get(3)?,
                created_at: row.try_get(4)?,
                updated_at: row.try_get(5)?,
            })
        }

        impl Contender for Sqlx {
            fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
                Box::pin(self.do_it(call.op))
            }

            fn close(&self) -> BoxFuture<'_, ()> {
                Box::pin(async {
                    self.reader.close().await;
                    self.writer.close().await;
                })
            }
        }
    };
}

pub(super) use sqlx_contender;
