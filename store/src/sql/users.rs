//! Users in SQL.

use entity::users::{ActiveModel, Column, Entity, Model};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};

use super::page::Listing;
use super::{Users, changed, corrupt, insertable, set, the_row};
use crate::contract::{
    Direction, Email, NewUser, Page, PageRequest, User, UserChange, UserId, UserRepository, UserRole,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl UserRepository for Users {
    /// A serializable transaction, although it is one statement: [`create_initial_admin_if_none`] of another caller must
    /// see it or be seen by it.
    ///
    /// [`create_initial_admin_if_none`]: UserRepository::create_initial_admin_if_none
    async fn create(&self, user: NewUser) -> Result<User> {
        let user = &user;
        self.run("create", |db| async move { db.atomic(|db| insert(db, user)).await })
            .await
    }

    async fn create_initial_admin_if_none(&self, email: Email) -> Result<User> {
        let admin = &NewUser {
            email,
            role: UserRole::Admin,
        };
        self.run("create_initial_admin_if_none", |db| async move {
            db.atomic(|db| async move {
                let admins = Entity::find().filter(Column::Role.eq(UserRole::Admin)).limit(1);
                match db.one(admins).await? {
                    Some(_) => Err(Error::new(
                        ErrorKind::AlreadyBootstrapped,
                        "there is an administrator already",
                    )),
                    None => insert(db, admin).await,
                }
            })
            .await
        })
        .await
    }

    async fn get(&self, id: UserId) -> Result<Option<User>> {
        self.run("get", |db| async move {
            db.by_key::<Entity>(id).await?.map(User::try_from).transpose()
        })
        .await
    }

    async fn get_by_email(&self, email: &Email) -> Result<Option<User>> {
        self.run("get_by_email", |db| async move {
            let found = db
                .one(Entity::find().filter(Column::EmailLc.eq(email.folded())))
                .await?;
            found.map(User::try_from).transpose()
        })
        .await
    }

    async fn list(&self, role: Option<UserRole>, page: PageRequest) -> Result<Page<User>> {
        self.run("list", |db| async move {
            let select = Entity::find().apply_if(role, |select, role| select.filter(Column::Role.eq(role)));
            let listing = Listing {
                name: "users",
                keys: [Column::CreatedAt, Column::Id],
                direction: Direction::Descending,
            };
            let found = listing.page(&db, select, &page, |row: &Model| {
                [row.created_at.into(), row.id.0.into()]
            });
            found.await?.try_map(User::try_from)
        })
        .await
    }

    /// A serializable transaction for the same reason as [`create`](UserRepository::create): it can make an administrator.
    async fn update(&self, id: UserId, change: UserChange) -> Result<User> {
        let change = &change;
        self.run("update", |db| async move {
            db.atomic(|db| async move {
                let row = ActiveModel {
                    email: set(change.email.as_ref().map(Email::to_string)),
                    email_lc: set(change.email.as_ref().map(Email::folded)),
                    role: set(change.role),
                    updated_at: ActiveValue::Set(db.now()),
                    ..Default::default()
                };
                let update = Entity::update_many().set(row).filter(Column::Id.eq(id));
                the_row(db.write_returning(update).await?, "user", id)?.try_into()
            })
            .await
        })
        .await
    }

    async fn delete(&self, id: UserId) -> Result<()> {
        self.run("delete", |db| async move {
            let gone = db.write(Entity::delete_many().filter(Column::Id.eq(id))).await?;
            changed(gone, "user", id)
        })
        .await
    }
}

async fn insert(db: Operation, new: &NewUser) -> Result<User> {
    let now = db.now();
    let row = Model {
        id: db.new_id(),
        email: new.email.to_string(),
        email_lc: new.email.folded(),
        role: new.role,
        created_at: now,
        updated_at: now,
    };
    db.write(Entity::insert(insertable(row.clone()))).await?;
    row.try_into()
}

impl TryFrom<Model> for User {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            id: row.id,
            email: Email::new(row.email).map_err(|rule| corrupt("users", row.id, rule))?,
            role: row.role,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
