"""The tamper-evident log, its verification and the reports that fall out of it."""
