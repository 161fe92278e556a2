"""The default export settings: those of the vendor's Slack Enterprise example, all known columns selected.

The vendor recommends to copy the settings of an export made in its user interface; these are for those who
have no such copy. Source of fields and values: https://github.com/onna/onna-tutorial-files, file
``tutorials/customize-export/create-exports/create-exports.py``.
"""

from __future__ import annotations

from typing import Any

# Group for people, interface, its columns.
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    (
        "Metadata",
        "onna.canonical.behaviors.metadata.IMetadata",
        (
            "content_type resource_name author content_length company processing_title md5 date_modified "
            "other_metadata application_name processing_exception date_created extension"
        ),
    ),
    (
        "Origin",
        "onna.canonical.behaviors.origin.IOrigin",
        (
            "origin_created_by origin origin_modified_by origin_targeted_users origin_other_metadata "
            "origin_server_modified origin_exception filter origin_label_ids"
        ),
    ),
    (
        "Slack Enterprise",
        "onna.canonical.content.resources.eslack.IESlack",
        "workspace_id workspace_name",
    ),
    (
        "Conversation (Slack, Hangouts)",
        "onna.canonical.behaviors.conversation.IConversation",
        "thread_id thread_name thread_type",
    ),
    ("RelatedUsers", "onna.canonical.behaviors.related_users.IRelatedUsers", "related_users"),
    ("Machine learning", "onna.canonical.behaviors.machine_learning.IMachineLearning", "nist language"),
    (
        "Folder data",
        "onna.canonical.behaviors.folderdata.IFolderData",
        "revision parent_folder orig_path",
    ),
    ("XTag", "onna.canonical.behaviors.xtag.IXTag", "tags"),
    ("Resource", "onna.canonical.content.resource.IResource", "title"),
    (
        "Dublin Core",
        "guillotina.behaviors.dublincore.IDublinCore",
        "expiration_date description effective_date tags",
    ),
    ("Dynamic fields", "guillotina.behaviors.dynamic.IDynamicFieldValues", "values"),
    (
        "Email (Gmail, IMAP, MS Outlook)",
        "onna.canonical.content.resources.mail.IMail",
        "subject to_mail from_mail is_starred bcc_mail cc_mail is_important message_id",
    ),
    (
        "Confluence",
        "onna.canonical.content.resources.confluence.IConfluence",
        "ancestors space_type space space_name confluence_labels",
    ),
    ("Jira", "onna.canonical.content.resources.jira.IJira", "thread_id thread_name thread_type"),
    (
        "Workplace",
        "onna.canonical.content.resources.workplace.IWorkplace",
        "thread_id thread_name thread_type",
    ),
    (
        "Zendesk",
        "onna.canonical.content.resources.zendesk.IZendesk",
        "thread_name requester status thread_id tags group priority thread_type organization assignee",
    ),
    # The example has 31 columns of contracts; the names of the other 21 are not known.
    (
        "Contract",
        "onna.canonical.behaviors.contract.IContract",
        (
            "deal_summary term_type amount amount_currency contract_number contract_type contract_status "
            "legal_entity departments contract_owner"
        ),
    ),
)


def default_settings() -> dict[str, Any]:
    """Return a new copy of the default settings, without ``name`` and ``created_by``."""
    return {
        "exportType": "advanced",
        "scope_uuid": None,
        "scope_query": {"advanced": {"and": [{"text_contains": [{"var": "type_name"}, "Resource"]}]}},
        "exclude_nist": True,
        "include_family": True,
        "dedupe_parents": False,
        "prefer_pdf": False,
        "message_context_days": 0,
        "slack_as_single_message": True,
        "use_original_filename": False,
        # In the example the two blocks disagree; which one counts is not published, so both say the same.
        "meta": {interface: [_option(name) for name in names.split()] for _, interface, names in _COLUMNS},
        "formattedMeta": [
            {
                "label": label,
                "children": [
                    {"label": name, "value": f"{interface}|{name}", "isSelected": True, "isHidden": True}
                    for name in names.split()
                ],
            }
            for label, interface, names in _COLUMNS
        ],
        "documentNumbering": _options(
            fieldName="ControlNumber", prefix="CN", startNumber=1, digits=8, groupIdentifierField="GroupID"
        ),
        "volumeNumbering": _options(prefix="VOL", startNumber=1, digits=3, maxSize=2000),
        "subdirectoryNumbering": _options(
            includeNatives=False,
            exportTextSeparately=False,
            textFileEncoding="utf-8",
            nativeFolderName="NATIVE",
            textFolderName="TEXT",
            startNumber=1,
            digits=3,
            maxFilesPerFolder=500,
        ),
        # The characters are given as ASCII codes.
        "loadFileFormat": _options(
            format="csv",
            encoding="utf-8",
            columnCharacter=44,
            quoteCharacter=34,
            newLineCharacter=10,
            multivalueCharacter=59,
            nestedCharacter=92,
        ),
    }


def _option(value: Any) -> dict[str, Any]:
    return {"selected": True, "viewValue": str(value), "value": value}


def _options(**values: Any) -> dict[str, Any]:
    return {name: _option(value) for name, value in values.items()}
