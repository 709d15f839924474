/** What `countersign help` prints. */
export const usage = `countersign: token signing that stays safe when a signing key is stolen

  up          start everything on this machine; Ctrl-C stops it, the same command continues
                --data DIR         everything it keeps (.countersign)
                --port N           the first of seven ports in a row (8400); 0 picks free ones
                --ready-file FILE  written once everything answers; DIR/ready.json is too
                --config FILE      what you want otherwise; see docs/configuration.md

  verify      decide about a token, as a validator of the system would
                --audience AUD     whom the token is shown to
                TOKEN, or - to read it from standard input
                exit 0 accepted, 1 refused, also where proof of a key is missing, 2 undecided

  key list    the keys of the manifest, and who has not acknowledged it
  key rotate  let the next key take over, also after a kill
                                                         --realm REALM or --kid KID
  key retire  let no token of a key verify, once its last has expired
                                                         --kid KID --reason TEXT
  key block   no validator accepts a key from now on; two people can lift it
                                                         --kid KID --reason TEXT
  key revoke  the same, for good                         --kid KID --reason TEXT
                --iss ISSUER       block, cutoff: an issuer not ours; the others as its tokens say
  cutoff      refuse what was issued before now          --reason TEXT, and at least one of
                                                         --realm REALM --kid KID --tenant T; --sub S
                --replace          after block or revoke: the next key takes over at once
                --dry-run          block, revoke, cutoff: who would notice, and nothing is done
                --hours N          how far back the dry run looks (24)
                --json             block, revoke, cutoff: for scripts
                --operator ID      who signs the command (the first of the ready file)
                exit 0 every connected validator acknowledged, 1 one stayed silent, 2 not done

  key lift    let a blocked key count again              --kid KID --reason TEXT; --iss ISSUER
  key activate  let a key sign before its time           --kid KID --reason TEXT
  key migrate  move a realm's keys to another keystore, while it signs; taken up again where it was
                --realm REALM --to KEYSTORE  a pkcs11: URI with --pin-file FILE, or a new file
                --environment NAME=VALUE  what the token's module reads, such as SOFTHSM2_CONF
                --operator ID      who approves; give it twice, or others approve within 15 minutes
                --early            the new keys sign before every cache knows them
                --revoke           end the old keys, tokens and sign-ins at once: after a theft
  key prune   drop keys that have ended                  --kid KID ... --reason TEXT
  validator enrol  let a service of one's own decide about tokens
                --name NAME --folder DIR  where its key and the trust anchor go (NAME)
  validator remove  wait for a validator no longer       --name NAME --reason TEXT
  break-glass  for a while, keys of a realm sign at once --realm REALM --minutes N --reason TEXT
  charter propose  what the realms may ever sign         --file FILE, or as up is told:
                --config FILE      a realm that is new there gets its signer at once
                each is a proposal: within 15 minutes somebody else has to approve it
                --operator ID      who proposes (the first of the ready file)
  charter proposals  what waits for approval
  approve ID  show what would change, and approve it; charter approve ID is the same
                --operator ID      who approves (the first who has not)
                --yes              without being asked
                exit 0 proposed, or carried out and acknowledged, 1 one stayed silent, 2 not done

  charter show  the charter in force, or --version N; --payload gives what propose takes
  acts        what was done by whom, the newest first    --before MANIFEST --json

  coverage    how many of the tokens issued came by a validator  --json

  log fsck    prove a whole log                          --url URL or --folder DIR, and --vkey VKEY
                exit 0 it holds, 1 it does not, 2 could not be found out

  Each but up talks to the system in .countersign/, or to that of --ready FILE. verify also takes
  --manifest URL, with --trust-anchor FILE. A KID that begins with - is written --kid=KID.
`
