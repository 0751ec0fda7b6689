//! the agent: session with the managers, task.db, task runners, reports.
