//! Reading results.
//!
//! | module | subject |
//! |---|---|
//! | [`rows`] | the rows of a result, for all that need them |
//! | [`stream`] | a result in a select list: one row per call |
//! | [`json_array`] | a result as one JSON array |
//! | [`frames`] | the frames of a job in order |
//! | [`convert`] | converting the rows of a job to the rows that the caller wants |
//! | [`columns`] | comparing the columns of a job with the caller's columns |

pub mod columns;
pub mod convert;
pub mod frames;
pub mod json_array;
pub mod rows;
pub mod stream;
