-- What was done under an address is looked for by its pseudonym.
CREATE INDEX audit_log_of_account ON audit_log (account, at) WHERE account IS NOT NULL;
