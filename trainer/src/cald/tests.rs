mod early;
mod resume;
mod speech;
mod unlabelled;
mod world;
