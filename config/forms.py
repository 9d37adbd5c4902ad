"""How every form of the site is rendered, allauth's and the admin's included."""

from django.forms.renderers import TemplatesSetting


class FormRenderer(TemplatesSetting):
    """`{{ form }}` and `{{ form.field.as_field_group }}` come from `templates/components/`."""

    form_template_name = "components/form.html"
    field_template_name = "components/field.html"
