//! The RPCs of documents.

mod count;
mod delete;
mod facet;
mod get;
mod list;
mod update_metadata;

pub(super) use self::{
    count::count, delete::delete, facet::facet, get::get, list::list, update_metadata::update as update_metadata,
};
