//! Lists that come in pages, put together again.
//!
//! Invariant: a list has an end, in objects and in bytes, whatever the other side sends.

use std::future::Future;

use skep_proto::Message;
use skep_proto::v1::{ListNodesReply, ListServicesReply, ListTasksReply, Node, ServiceWithStatus, Task};

use crate::limits::{MAX_LIST, MAX_LIST_BYTES};

/// A page of a list.
pub trait Page {
    /// What is listed.
    type Item: Message;

    /// Its objects, and whether more follow.
    fn into_parts(self) -> (Vec<Self::Item>, bool);

    /// By what objects are sorted.
    fn id(item: &Self::Item) -> &str;
}

impl Page for ListNodesReply {
    type Item = Node;

    fn into_parts(self) -> (Vec<Node>, bool) {
        (self.nodes, self.more)
    }

    fn id(item: &Node) -> &str {
        &item.id
    }
}

impl Page for ListServicesReply {
    type Item = ServiceWithStatus;

    fn into_parts(self) -> (Vec<ServiceWithStatus>, bool) {
        (self.services, self.more)
    }

    fn id(item: &ServiceWithStatus) -> &str {
        item.service.as_ref().map_or("", |service| &service.id)
    }
}

impl Page for ListTasksReply {
    type Item = Task;

    fn into_parts(self) -> (Vec<Task>, bool) {
        (self.tasks, self.more)
    }

    fn id(item: &Task) -> &str {
        &item.id
    }
}

/// Why a list has no end, in one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list is too long: ask for fewer with a filter")]
pub struct TooLong;

#[cfg(feature = "net")]
impl From<TooLong> for tonic::Status {
    fn from(error: TooLong) -> Self {
        Self::resource_exhausted(error.to_string())
    }
}

/// Asks for page after page, each with what the last one ended with.
///
/// # Errors
/// Those of `page`; [`TooLong`].
pub async fn all<P: Page, E: From<TooLong>, F: Future<Output = Result<P, E>>>(
    mut page: impl FnMut(String) -> F,
) -> Result<Vec<P::Item>, E> {
    let (mut all, mut bytes, mut after) = (Vec::new(), 0_usize, String::new());
    loop {
        let (items, more) = page(after.clone()).await?.into_parts();
        bytes = items.iter().fold(bytes, |bytes, item| bytes.saturating_add(item.encoded_len()));
        all.extend(items);
        if !more {
            return Ok(all);
        }
        match all.last().map(P::id) {
            Some(last) if *last > *after && all.len() <= MAX_LIST && bytes <= MAX_LIST_BYTES => {
                last.clone_into(&mut after)
            }
            _ => return Err(TooLong.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn reply(ids: &[&str], more: bool) -> ListTasksReply {
        let tasks = ids.iter().map(|id| Task { id: (*id).to_owned(), ..Task::default() }).collect();
        ListTasksReply { tasks, more }
    }

    #[tokio::test]
    async fn every_page_begins_where_the_last_one_ended() {
        let mut asked = Vec::new();
        let tasks = all::<_, TooLong, _>(|after| {
            asked.push(after);
            ready(Ok(if asked.len() == 1 { reply(&["a", "b"], true) } else { reply(&["c"], false) }))
        });
        assert_eq!(tasks.await.unwrap().len(), 3);
        assert_eq!(asked, ["", "b"]);
    }

    #[tokio::test]
    async fn a_list_without_end_has_one() {
        // The same page again and again; and one with nothing in it.
        for ids in [&["a"][..], &[]] {
            assert_eq!(all::<_, TooLong, _>(|_| ready(Ok(reply(ids, true)))).await, Err(TooLong));
        }
        let mut n = 0;
        let endless = all::<_, TooLong, _>(|_| {
            n += 1;
            ready(Ok(reply(&[&format!("{n:010}")], true)))
        });
        assert_eq!(endless.await, Err(TooLong));
    }
}
