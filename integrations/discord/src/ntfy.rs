//! A topic of ntfy, <https://docs.ntfy.sh/publish/>.
